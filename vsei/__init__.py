"""Bitstreams and SEI messages: bytes to messages and back (H.274, H.266, H.265, H.264)."""
