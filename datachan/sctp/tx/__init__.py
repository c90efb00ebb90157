"""The sending half of an association: queues, what is outstanding, and when it is sent again."""
