"""From a page of stored events to its GraphQL object."""

from typing import cast

from daglens.resolvers import events
from daglens.schema.event import Event, EventPage
from daglens.schema.event_objects import EventRows
from daglens.schema.scalars import Cursor


def page_object(page: events.EventPage) -> EventPage:
    """The object of a page."""
    return EventPage(
        nodes=cast(list[Event], EventRows(page.events, page.incarnation)),
        cursor=Cursor(page.cursor),
        through_seq=page.through_seq,
        has_more=page.has_more,
    )
