"""What does a worker tell about itself: log lines, heartbeats, load reports."""
