"""Models of the Hugging Face hub: what they are, and their weights, in the cache that other tools share.

`names` says what is meant, `listing` which files of a repository count, `cache` what lies here, `fetch` asks for the
rest in a process of its own, which is `download`. `wording` says in a sentence what went wrong there.
"""
