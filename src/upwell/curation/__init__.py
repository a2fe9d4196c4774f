"""What becomes of drafts before anybody trains on them."""
