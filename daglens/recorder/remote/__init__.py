"""Recording over GraphQL, from any machine that reaches a server.

What is recorded goes to files of this machine first (spool.py), which costs the pipeline no wait and survives the
death of its process. A thread (sender.py) brings it to the server, in order, and removes what the server has. What a
process leaves behind, a later one sends: any recorder of the same server, or `daglens recorder flush` (flush.py).
"""
