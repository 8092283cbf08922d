"""Tool calls and reasoning as models write them: their formats, and parsing as it comes."""
