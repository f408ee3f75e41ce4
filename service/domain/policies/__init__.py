"""What the company says it does: policies in Markdown, their versions, published for ever."""
