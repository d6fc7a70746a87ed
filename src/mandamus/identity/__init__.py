"""Who acts: users, groups, approver groups, and how they were authenticated."""
