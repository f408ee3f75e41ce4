"""The links printed in mails: signed, without an address inside, good for ever."""
