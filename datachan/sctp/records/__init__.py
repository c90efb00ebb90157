"""What an association remembers: state and pure rules, a file for each subject. Nothing in here decides or sends."""
