"""What the endpoints share: fields of requests, figures of answers."""
