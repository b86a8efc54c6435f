"""Values as messages of ``vecstore.v1`` and back: what client and server share.

Nothing here imports grpc. What comes from the wire is checked: sizes against the shape that the message
claims, Arrow data for validity, so that the code behind works with sound arrays only.
"""
