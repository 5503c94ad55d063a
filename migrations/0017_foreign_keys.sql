-- Whoever deletes an account asks each table that refers to it: without an index of their own on those
-- columns, user_roles and one_time_tokens would be read through.

CREATE INDEX user_roles_granted_by ON user_roles (granted_by) WHERE granted_by IS NOT NULL;
-- Beside one_time_tokens_live, which has no row of a token that was used.
CREATE INDEX one_time_tokens_user_id ON one_time_tokens (user_id);
