"""A model and the review of a run over HTTP, with a page for people.

Needs the extra ``serve``. Everything that is asked of it is answered from this machine:
nothing is fetched from elsewhere, but for a Label Studio that was named at the start.
"""
