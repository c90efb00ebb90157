"""Tests of the brokers, and of nodes that share one."""
