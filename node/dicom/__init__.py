"""What several stages share: scanning, frames, geometry, codes, UIDs, charsets, network."""
