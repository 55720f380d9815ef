"""Images that requests bring: fetched, measured, and refused where they are not what a model may be given. A leaf."""
