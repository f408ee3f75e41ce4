"""Mail itself: from Markdown and MJML to the bytes of one message, and the way onto the wire.

Knows nothing of people, consent or the database: values come in, strings and bytes go out.
"""
