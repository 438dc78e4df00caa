-- The tables of migrations/postgres in SQLite's words; what they mean is said there. Change both.
-- Ids are blobs of 16 bytes. Times are texts in UTC with milliseconds, so that they sort; JSON is text.

create table tenants (
    id blob primary key,
    name text not null constraint tenants_name unique,
    served real not null default 0,
    weight real not null default 1 check (weight > 0),
    created_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
);

create table api_keys (
    id blob primary key,
    tenant_id blob not null references tenants,
    hash blob not null constraint api_keys_hash unique,
    hint text not null,
    created_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    revoked_at datetime
);

create table models (
    name text primary key,
    context_length integer not null check (context_length > 0),
    bytes_per_token real not null check (bytes_per_token > 0),
    tokens_per_s real,
    created_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
);

create table files (
    id blob primary key,
    tenant_id blob not null references tenants,
    purpose text not null check (purpose in ('batch', 'batch_output')),
    filename text not null,
    bytes integer not null,
    key text not null,
    created_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    expires_at datetime,
    deleted_at datetime,
    collected_at datetime
);
create index files_listing on files (tenant_id, id) where deleted_at is null;
create index files_to_collect on files (id) where collected_at is null and (deleted_at is not null or expires_at is not null);

create table batches (
    id blob primary key,
    tenant_id blob not null references tenants,
    endpoint text not null,
    input_file_id blob not null references files,
    completion_window text not null,
    metadata text,
    state text not null check (state in ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled')),
    model text,
    total integer not null default 0,
    succeeded integer not null default 0,
    failed integer not null default 0,
    cancelled integer not null default 0,
    expired integer not null default 0,
    prompt_tokens integer not null default 0,
    cached_tokens integer not null default 0,
    completion_tokens integer not null default 0,
    reasoning_tokens integer not null default 0,
    errors text,
    output_file_id blob references files,
    error_file_id blob references files,
    output_seconds integer,
    webhook_url text,
    webhook_secret text,
    created_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    expires_at datetime not null,
    in_progress_at datetime,
    finalizing_at datetime,
    completed_at datetime,
    failed_at datetime,
    expired_at datetime,
    cancelling_at datetime,
    cancelled_at datetime,
    lease_term integer not null default 0,
    lease_until datetime,
    pruned_at datetime,
    constraint batches_counts check (succeeded + failed + cancelled + expired <= total)
);
create index batches_listing on batches (tenant_id, id);
create index batches_open on batches (state, expires_at) where state in ('validating', 'in_progress', 'finalizing', 'cancelling');
create index batches_to_prune on batches (id) where pruned_at is null and state in ('failed', 'completed', 'expired', 'cancelled');

create table requests (
    id blob primary key,
    tenant_id blob not null references tenants,
    batch_id blob references batches,
    line integer,
    custom_id text,
    body_offset integer,
    body_bytes integer,
    endpoint text not null,
    model text not null,
    cost integer not null,
    state text not null check (state in ('queued', 'dispatched', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
    epoch integer not null default 0,
    attempts integer not null default 0,
    worker_id blob,
    traceparent text,
    created_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    deadline datetime not null,
    dispatched_at datetime,
    ended_at datetime,
    constraint requests_line check ((batch_id is null) = (line is null) and (line is null) = (custom_id is null)
        and (line is null) = (body_offset is null) and (line is null) = (body_bytes is null)),
    constraint requests_batch_line unique (batch_id, line)
) without rowid;
create index requests_queued_lines on requests (batch_id, model, line, id) where state = 'queued' and batch_id is not null;
create index requests_queued_singles on requests (model, tenant_id, deadline, id) where state = 'queued' and batch_id is null;
create index requests_dispatched on requests (model, dispatched_at) where state = 'dispatched';
create index requests_running on requests (worker_id) where state = 'running';
create index requests_open_singles on requests (deadline) where batch_id is null and state in ('queued', 'dispatched', 'running');
create index requests_ended_singles on requests (ended_at) where batch_id is null and ended_at is not null;
create index requests_open_lines on requests (batch_id) where batch_id is not null and state in ('queued', 'dispatched', 'running');

create table request_bodies (
    request_id blob primary key references requests on delete cascade,
    body text,
    key text,
    constraint request_bodies_one check ((body is null) <> (key is null))
);

create table results (
    request_id blob primary key references requests on delete cascade,
    status integer not null,
    body text,
    key text,
    constraint results_one check ((body is null) <> (key is null))
);

create table charges (
    request_id blob primary key,
    tenant_id blob not null references tenants,
    model text not null,
    prompt_tokens integer not null,
    cached_tokens integer not null,
    completion_tokens integer not null,
    reasoning_tokens integer not null,
    created_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
);
create index charges_by_tenant on charges (tenant_id, created_at);

create table events (
    id blob primary key,
    tenant_id blob not null references tenants,
    kind text not null,
    object_id blob not null,
    payload text not null,
    created_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    constraint events_once unique (object_id, kind)
);

create table deliveries (
    id blob primary key,
    event_id blob not null references events,
    url text not null,
    secret text,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'exhausted')),
    attempts integer not null default 0,
    next_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    last_status integer,
    last_error text,
    created_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    ended_at datetime
);
create index deliveries_due on deliveries (next_at) where state = 'pending';

create table workers (
    id blob primary key,
    model text,
    slots integer not null default 0,
    lease_until datetime not null,
    started_at datetime not null default (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
);

create table leases (
    name text primary key,
    holder blob not null,
    term integer not null,
    expires_at datetime not null
);
