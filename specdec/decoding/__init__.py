"""The engine in this process: scheduler, rounds, speculation controller."""
