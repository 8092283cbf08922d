"""Tool calls and reasoning as models write them: families, the grammar of a call, and parsing as it comes."""
