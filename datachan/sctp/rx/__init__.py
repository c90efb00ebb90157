"""The receiving half of an association: which TSNs came, and how fragments become messages."""
