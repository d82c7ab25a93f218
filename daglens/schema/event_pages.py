"""From a page of stored events to its GraphQL object."""

from daglens.resolvers import events
from daglens.schema.event import EventPage
from daglens.schema.event_objects import event_objects
from daglens.schema.scalars import Cursor


def page_object(page: events.EventPage) -> EventPage:
    """The object of a page."""
    return EventPage(
        nodes=event_objects(page.events, page.incarnation),
        cursor=Cursor(page.cursor),
        through_seq=page.through_seq,
        has_more=page.has_more,
    )
