"""The state of an association and its pure rules, a file for each subject. Nothing here decides or sends."""
