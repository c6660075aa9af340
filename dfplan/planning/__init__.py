"""Planning: rewards, planners, trackers, policies."""
