-- The truth of Millrace. RabbitMQ and the workers can be wiped at any moment; what stands here rebuilds them.
-- migrations/sqlite holds the same tables in SQLite's words: change both.

create table tenants (
    id uuid primary key,
    name text not null constraint tenants_name unique,
    -- Fair share: virtual tokens served so far, and the share relative to other tenants.
    served double precision not null default 0,
    weight double precision not null default 1 check (weight > 0),
    created_at timestamptz not null default now()
);

create table api_keys (
    id uuid primary key,
    tenant_id uuid not null references tenants,
    -- SHA-256 of the key; the key itself is shown once and kept nowhere.
    hash bytea not null constraint api_keys_hash unique,
    hint text not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

-- What the producer needs to know of a model to validate and estimate without any worker being up.
create table models (
    name text primary key,
    context_length integer not null check (context_length > 0),
    bytes_per_token real not null check (bytes_per_token > 0),
    tokens_per_s real,
    created_at timestamptz not null default now()
);

create table files (
    id uuid primary key,
    tenant_id uuid not null references tenants,
    purpose text not null check (purpose in ('batch', 'batch_output')),
    filename text not null,
    bytes bigint not null,
    key text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    -- Hidden at once; the bytes go when no running batch reads them any more.
    deleted_at timestamptz,
    collected_at timestamptz
);
-- Ids sort by time, so one index serves the newest-first and the oldest-first listing.
create index files_listing on files (tenant_id, id) where deleted_at is null;
create index files_to_collect on files (id) where collected_at is null and (deleted_at is not null or expires_at is not null);

create table batches (
    id uuid primary key,
    tenant_id uuid not null references tenants,
    endpoint text not null,
    input_file_id uuid not null references files,
    completion_window text not null,
    metadata jsonb,
    state text not null check (state in ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled')),
    model text,
    -- Counters are kept by every finish and never recounted on read.
    total bigint not null default 0,
    succeeded bigint not null default 0,
    failed bigint not null default 0,
    cancelled bigint not null default 0,
    expired bigint not null default 0,
    prompt_tokens bigint not null default 0,
    cached_tokens bigint not null default 0,
    completion_tokens bigint not null default 0,
    reasoning_tokens bigint not null default 0,
    errors jsonb,
    output_file_id uuid references files,
    error_file_id uuid references files,
    output_seconds bigint,
    webhook_url text,
    webhook_secret text,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    in_progress_at timestamptz,
    finalizing_at timestamptz,
    completed_at timestamptz,
    failed_at timestamptz,
    expired_at timestamptz,
    cancelling_at timestamptz,
    cancelled_at timestamptz,
    -- Who validates or assembles this batch, until when; every write of theirs names the term.
    lease_term bigint not null default 0,
    lease_until timestamptz,
    -- Set once the rows of the lines have been pruned.
    pruned_at timestamptz,
    constraint batches_counts check (succeeded + failed + cancelled + expired <= total)
);
create index batches_listing on batches (tenant_id, id);
create index batches_open on batches (state, expires_at) where state in ('validating', 'in_progress', 'finalizing', 'cancelling');
create index batches_to_prune on batches (id) where pruned_at is null and state in ('failed', 'completed', 'expired', 'cancelled');

-- The hot table: state only, no bodies. The body of a batch line stays in the input file, at body_offset, body_bytes long.
create table requests (
    id uuid primary key,
    tenant_id uuid not null references tenants,
    batch_id uuid references batches,
    line bigint,
    custom_id text,
    body_offset bigint,
    body_bytes integer,
    endpoint text not null,
    model text not null,
    -- Estimated tokens, charged to the tenant's share at dispatch.
    cost bigint not null,
    state text not null check (state in ('queued', 'dispatched', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
    -- Counts claims. Whoever writes a result names the epoch of its claim; an older one changes nothing.
    epoch integer not null default 0,
    -- Claims that were not given back in order; a request that keeps losing its worker is failed.
    attempts integer not null default 0,
    worker_id uuid,
    traceparent text,
    created_at timestamptz not null default now(),
    deadline timestamptz not null,
    dispatched_at timestamptz,
    ended_at timestamptz,
    -- A line of a batch has all of these, a single request none.
    constraint requests_line check ((batch_id is null) = (line is null) and (line is null) = (custom_id is null)
        and (line is null) = (body_offset is null) and (line is null) = (body_bytes is null)),
    constraint requests_batch_line unique (batch_id, line)
);
-- With the id in it, this index alone gives the order of dispatch: a planner that took requests_batch_line would wade through ended lines.
create index requests_queued_lines on requests (batch_id, model, line, id) where state = 'queued' and batch_id is not null;
create index requests_queued_singles on requests (model, tenant_id, deadline, id) where state = 'queued' and batch_id is null;
create index requests_dispatched on requests (model, dispatched_at) where state = 'dispatched';
create index requests_running on requests (worker_id) where state = 'running';
create index requests_open_singles on requests (deadline) where batch_id is null and state in ('queued', 'dispatched', 'running');
create index requests_ended_singles on requests (ended_at) where batch_id is null and ended_at is not null;
create index requests_open_lines on requests (batch_id) where batch_id is not null and state in ('queued', 'dispatched', 'running');
-- The queue-like life of these rows leaves many dead versions: vacuum early.
alter table requests set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02, fillfactor = 80);

-- Bodies of single requests, inline or (over 64 KiB) as an object.
create table request_bodies (
    request_id uuid primary key references requests on delete cascade,
    body text,
    key text,
    constraint request_bodies_one check ((body is null) <> (key is null))
);

-- At most one result a request, written in the transaction of its terminal state. Pruned once assembled.
create table results (
    request_id uuid primary key references requests on delete cascade,
    status integer not null,
    body text,
    key text,
    constraint results_one check ((body is null) <> (key is null))
);

-- The ledger: one row for each request that was answered. It outlives the request.
create table charges (
    request_id uuid primary key,
    tenant_id uuid not null references tenants,
    model text not null,
    prompt_tokens bigint not null,
    cached_tokens bigint not null,
    completion_tokens bigint not null,
    reasoning_tokens bigint not null,
    created_at timestamptz not null default now()
);
create index charges_by_tenant on charges (tenant_id, created_at);

create table events (
    id uuid primary key,
    tenant_id uuid not null references tenants,
    kind text not null,
    object_id uuid not null,
    -- The exact bytes that are signed and sent, at every attempt.
    payload text not null,
    created_at timestamptz not null default now(),
    constraint events_once unique (object_id, kind)
);

create table deliveries (
    id uuid primary key,
    event_id uuid not null references events,
    url text not null,
    secret text,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'exhausted')),
    attempts integer not null default 0,
    next_at timestamptz not null default now(),
    last_status integer,
    last_error text,
    created_at timestamptz not null default now(),
    ended_at timestamptz
);
create index deliveries_due on deliveries (next_at) where state = 'pending';

-- One heartbeat row a consumer; its claims die with it.
create table workers (
    id uuid primary key,
    -- None for a consumer without the role `infer`.
    model text,
    slots integer not null default 0,
    lease_until timestamptz not null,
    started_at timestamptz not null default now()
);

-- Who leads: the dispatcher and each upkeep duty. The term grows with every change of holder and fences what the old one still writes.
create table leases (
    name text primary key,
    holder uuid not null,
    term bigint not null,
    expires_at timestamptz not null
);

-- Times relative to the database's clock, so that no host's clock matters.
create function later(seconds double precision) returns timestamptz language sql stable
    as $$ select now() + make_interval(secs => seconds) $$;
