"""The receiving side: lets in the boxes it knows, journals what they send, acks, and indexes.

    fleet socket ▸ sessions ▸ journal ══ ack        one thread, one fsync a group of frames
                                 ▼
                               index ▸ tail, query, audit      its own thread and cursor

Nothing in a box's processes imports this package.
"""
