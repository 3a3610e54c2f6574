"""The fault audit: strikes at a real fleet, and proves from what clients saw that every promise was kept."""
