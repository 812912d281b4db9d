/* What a batch of records becomes: rows, customers, fields, log rows; chunks; asks that
 * failed. */
#include "tests/contract/save_rig.h"

/* ---- HubSpot ---- */

static void first_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    counts(f, 3, 0, 0, 0, 0);
    field_is(f, f->hubspot, "1", "name", "Alpha");
    field_is(f, f->hubspot, "1", "domain", "alpha.example");
    field_is(f, f->hubspot, "1", "arr", "1000.50");
    field_is(f, f->hubspot, "1", "plan", "Pro");
    field_is(f, f->hubspot, "2", "created_at", "2024-01-01T00:00:00.000Z");
    state_is(f, f->hubspot, "3", "in_sync ");
    assert_true(f->result.verdicts[1].changed);
    assert_true(f->result.verdicts[1].customer_id > 0);
    is(f, "3 succeeded",
       "SELECT count(*) || ' ' || min(status) FROM psync.attempt WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
    is(f, "24", "SELECT count(*) FROM psync_bi.field_provenance WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
    is(f, "0", "SELECT count(*) FROM psync.field_provenance WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
    is(f, "fresh",
       "SELECT channel_state FROM psync.connection WHERE connection_id = %lld"
       " AND last_incremental_at > now() - interval '1 minute'",
       (long long)f->hubspot->connection_id);
}

static void a_first_batch_makes_records_customers_and_log_rows(void **state)
{
    (void)state;
    with_workspace(first_body);
}

static void unchanged_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    int64_t versions = number(f, "SELECT sum(xmin::text::bigint) FROM psync.record");
    int64_t customers = number(f, "SELECT sum(xmin::text::bigint) FROM psync.customer");
    three_companies(f);
    counts(f, 0, 0, 3, 0, 0);
    assert_int_equal(versions, number(f, "SELECT sum(xmin::text::bigint) FROM psync.record"));
    assert_int_equal(customers,
                     number(f, "SELECT sum(xmin::text::bigint) FROM psync.customer"));
    assert_false(f->result.verdicts[0].changed);
    assert_true(f->result.verdicts[0].customer_id > 0);
}

static void an_unchanged_batch_writes_neither_records_nor_customers(void **state)
{
    (void)state;
    with_workspace(unchanged_body);
}

static void changed_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    run(f, "UPDATE psync.record_link SET linked_at = '2020-01-01' WHERE connection_id = %lld",
        (long long)f->hubspot->connection_id);
    company(f, "1", "Alpha", "alpha.example", "1500");
    company(f, "2", "Beta", "beta.example", "2000");
    save(f, f->hubspot, "company");
    counts(f, 0, 1, 1, 0, 0);
    field_is(f, f->hubspot, "1", "arr", "1500");
    is(f, "1 arr",
       "SELECT count(*) FILTER (WHERE field = 'arr' AND record_id = '1')"
       " || ' ' || string_agg(field, ',') FILTER (WHERE written_at > '2021-01-01')"
       " FROM psync_bi.field_provenance WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
}

static void one_changed_record_changes_one_field_and_its_provenance(void **state)
{
    (void)state;
    with_workspace(changed_body);
}

static void hand_edit_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    run(f,
        "UPDATE psync.customer SET fields = fields || '{\"arr\":1,\"note\":\"mine\","
        "\"created_at\":\"2000\"}' WHERE workspace_id = %lld",
        (long long)f->hubspot->workspace_id);
    three_companies(f);
    counts(f, 0, 3, 0, 0, 0);
    field_is(f, f->hubspot, "1", "arr", "1000.50");
    field_is(f, f->hubspot, "1", "note", "mine");
    field_is(f, f->hubspot, "1", "created_at", "2000");
    three_companies(f);
    counts(f, 0, 0, 3, 0, 0);
}

static void a_mapped_field_edited_by_hand_is_restored_and_an_unmapped_one_left(void **state)
{
    (void)state;
    with_workspace(hand_edit_body);
}

static void offender_body(struct fixture *f)
{
    add_workspace(f, true);
    company(f, "1", "Alpha", "alpha.example", "1");
    company(f, "2", "Be\\u0000ta", "beta.example", "2");
    company(f, "3", "Gamma", "gamma.example", "3");
    company(f, "4", "Delta", "delta.example", "4");
    company(f, "5", "Eps\xff", "eps.example", "5");
    save(f, f->hubspot, "company");
    counts(f, 3, 0, 0, 0, 2);
    assert_int_equal(f->result.verdicts[1].failure.type, ET_TEXT_NOT_STORABLE);
    assert_int_equal(f->result.verdicts[4].failure.type, ET_TEXT_NOT_STORABLE);
    assert_int_equal(f->result.verdicts[1].plan.outcome, OUTCOME_COMPLETE);
    field_is(f, f->hubspot, "4", "name", "Delta");
    state_is(f, f->hubspot, "2", "failing text_not_storable");
    is(f, "2",
       "SELECT count(*) FROM psync.attempt a JOIN psync.attempt_body b USING (attempt_id)"
       " WHERE connection_id = %lld AND a.status = 'failed' AND error_code ="
       " 'text_not_storable' AND b.body LIKE '%%properties%%'",
       (long long)f->hubspot->connection_id);
    company(f, "2", "Beta", "beta.example", "2");
    save(f, f->hubspot, "company");
    counts(f, 1, 0, 0, 0, 0);
    state_is(f, f->hubspot, "2", "in_sync ");
    is(f, "1",
       "SELECT count(*) FROM psync.attempt WHERE connection_id = %lld AND record_id = '2'"
       " AND status = 'failed' AND resolved_by IS NOT NULL",
       (long long)f->hubspot->connection_id);
}

static void what_cannot_be_stored_fails_alone_and_is_resolved_later(void **state)
{
    (void)state;
    with_workspace(offender_body);
}

static void stale_body(struct fixture *f)
{
    add_workspace(f, true);
    int64_t early = number(f, "SELECT nextval('psync.fetch_no')");
    three_companies(f);
    company(f, "1", "Old", "old.example", "0");
    f->fetch_no = early;
    save(f, f->hubspot, "company");
    counts(f, 0, 0, 0, 1, 0);
    assert_true(f->result.verdicts[0].stale);
    field_is(f, f->hubspot, "1", "name", "Alpha");
    is(f, "skipped",
       "SELECT status FROM psync.attempt WHERE connection_id = %lld AND error_code ="
       " 'stale_event'",
       (long long)f->hubspot->connection_id);
}

static void a_fetch_that_started_earlier_changes_nothing(void **state)
{
    (void)state;
    with_workspace(stale_body);
}

static void scope_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    company(f, "1", "Alpha", "alpha.example", "1000.50")->scope = SCOPE_OUT;
    company(f, "9", "Stranger", "stranger.example", "1")->scope = SCOPE_OUT;
    save(f, f->hubspot, "company");
    counts(f, 0, 0, 0, 2, 0);
    assert_int_equal(f->result.verdicts[1].failure.type, ET_NOT_IN_MIRRORED_LIST);
    archived_is(f, "1", "not_in_mirrored_list");
    state_is(f, f->hubspot, "1", "excluded not_in_mirrored_list");
    state_is(f, f->hubspot, "9", "excluded not_in_mirrored_list");
    is(f, "3", "SELECT count(*) FROM psync.customer WHERE workspace_id = %lld",
       (long long)f->hubspot->workspace_id);
    is(f, "0",
       "SELECT count(*) FROM psync.record WHERE connection_id = %lld AND record_id = '9'",
       (long long)f->hubspot->connection_id);
    company(f, "1", "Alpha", "alpha.example", "1000.50");
    company(f, "9", "Stranger", "stranger.example", "1");
    save(f, f->hubspot, "company");
    archived_is(f, "1", "-");
    add(f, RECORD_REF, "1", "%s", "")->scope = SCOPE_OUT;
    add(f, RECORD_REF, "10", "%s", "")->scope = SCOPE_OUT;
    save(f, f->hubspot, "company");
    counts(f, 0, 0, 0, 2, 0);
    archived_is(f, "1", "not_in_mirrored_list");
    state_is(f, f->hubspot, "10", "excluded not_in_mirrored_list");
    is(f, "2",
       "SELECT count(*) FROM psync.attempt WHERE connection_id = %lld AND status = 'skipped'"
       " AND error_code = 'not_in_mirrored_list' AND record_id IN ('1', '10')"
       " AND attempt_id > psync.attempt_floor(now() - interval '1 s')"
       " AND error_message LIKE '%% is not in the mirrored list Customers'"
       " AND fetch_no = (SELECT max(fetch_no) FROM psync.record_seen WHERE connection_id ="
       "  %lld)",
       (long long)f->hubspot->connection_id, (long long)f->hubspot->connection_id);
    company(f, "1", "Alpha", "alpha.example", "1000.50");
    save(f, f->hubspot, "company");
    archived_is(f, "1", "-");
    field_is(f, f->hubspot, "9", "name", "Stranger");
    state_is(f, f->hubspot, "1", "in_sync ");
}

static void leaving_the_list_archives_and_coming_back_restores(void **state)
{
    (void)state;
    with_workspace(scope_body);
}

static void delete_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    add(f, RECORD_GONE, "1", "%s", "");
    add(f, RECORD_GONE, "77", "%s", "");
    save(f, f->hubspot, "company");
    counts(f, 0, 0, 0, 2, 0);
    archived_is(f, "1", "record_deleted");
    state_is(f, f->hubspot, "1", "archived record_deleted");
    is(f, "t",
       "SELECT deleted_at IS NOT NULL FROM psync.record WHERE connection_id = %lld AND"
       " record_id = '1'",
       (long long)f->hubspot->connection_id);
    three_companies(f);
    archived_is(f, "1", "-");
    state_is(f, f->hubspot, "1", "in_sync ");
    is(f, "t",
       "SELECT deleted_at IS NULL FROM psync.record WHERE connection_id = %lld AND"
       " record_id = '1'",
       (long long)f->hubspot->connection_id);
    run(f,
        "UPDATE psync.customer SET archived_at = now(), archived_why = 'by hand'"
        " WHERE workspace_id = %lld",
        (long long)f->hubspot->workspace_id);
    three_companies(f);
    archived_is(f, "1", "by hand");
}

static void a_deleted_company_is_archived_and_comes_back(void **state)
{
    (void)state;
    with_workspace(delete_body);
}

static void held_back_body(struct fixture *f)
{
    add_workspace(f, true);
    company(f, "1", "Alpha", "alpha.example", "lots");
    company(f, "2", "", "beta.example", "2");
    save(f, f->hubspot, "company");
    assert_int_equal(f->result.verdicts[0].failure.type, ET_MAP_TYPE_MISMATCH);
    assert_int_equal(f->result.verdicts[1].failure.type, ET_MAP_REQUIRED_EMPTY);
    field_is(f, f->hubspot, "1", "name", "Alpha");
    field_is(f, f->hubspot, "1", "arr", "NULL");
    is(f, "partial arr 1",
       "SELECT status || ' ' || error_field || ' ' || error_count FROM psync.attempt"
       " WHERE connection_id = %lld AND record_id = '1'",
       (long long)f->hubspot->connection_id);
    is(f, "1", "SELECT count(*) FROM psync.customer WHERE workspace_id = %lld",
       (long long)f->hubspot->workspace_id);
    company(f, "1", "", "alpha.example", "5");
    save(f, f->hubspot, "company");
    field_is(f, f->hubspot, "1", "name", "Alpha");
    field_is(f, f->hubspot, "1", "arr", "5");
}

static void a_field_held_back_leaves_the_others_written(void **state)
{
    (void)state;
    with_workspace(held_back_body);
}

static void owner_body(struct fixture *f)
{
    add_workspace(f, true);
    add(f, RECORD_FOUND, "o1", "{\"id\":\"o1\",\"email\":\"Anna@Us.example\"}");
    save(f, f->hubspot, "owner");
    for (int i = 1; i <= 2; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%d", i);
        add(f, RECORD_FOUND, id,
            "{\"id\":\"%d\",\"properties\":{\"name\":\"A\",\"domain\":\"a.example\","
            "\"annualrevenue\":\"1\",\"hubspot_owner_id\":\"o%d\",\"tier\":\"pro\","
            "\"industry\":null,\"numberofemployees\":\"25\",\"createdate\":\"2024-01-01\"}}",
            i, i);
    }
    save(f, f->hubspot, "company");
    field_is(f, f->hubspot, "1", "owner", "anna@us.example");
    field_is(f, f->hubspot, "2", "owner", "boss@us.example");
    assert_int_equal(f->result.verdicts[1].failure.type, ET_MAP_OWNER_UNKNOWN);
    state_is(f, f->hubspot, "2", "in_sync map_owner_unknown");
}

static void an_owner_is_the_address_behind_the_owner_id(void **state)
{
    (void)state;
    with_workspace(owner_body);
}

static void twins_body(struct fixture *f)
{
    add_workspace(f, true);
    company(f, "1", "First", "alpha.example", "1");
    company(f, "1", "Second", "alpha.example", "1");
    save(f, f->hubspot, "company");
    counts(f, 1, 0, 0, 0, 0);
    field_is(f, f->hubspot, "1", "name", "Second");
    assert_true(f->result.verdicts[0].customer_id == f->result.verdicts[1].customer_id);
}

static void of_two_records_with_one_id_the_later_wins(void **state)
{
    (void)state;
    with_workspace(twins_body);
}

/* ---- chunks ---- */

static void chunk_body(struct fixture *f)
{
    struct save_chunk chunk;
    add_workspace(f, true);
    int64_t run_id = add_run(f, &chunk);
    company(f, "1", "Alpha", "alpha.example", "1");
    company(f, "2", "Be\\u0000ta", "beta.example", "2");
    add(f, RECORD_FAILED, "3", "{\"id\":\"3\"}");
    f->records[2].failure = (struct failure){.type = ET_UNEXPECTED_SHAPE, .wait_ms = -1};
    save(f, f->hubspot, "company");
    counts(f, 1, 0, 0, 0, 2);
    is(f, "next waiting 3 1 2 2",
       "SELECT concat_ws(' ', cursor, status, seen, created, failed, api_calls)"
       " FROM psync.run_chunk WHERE run_id = %lld",
       (long long)run_id);
    is(f, "chunk partial 3 1 2, record failed 1 0 1, record failed 1 0 1",
       "SELECT string_agg(concat_ws(' ', kind, status, seen, changed, error_count), ', '"
       " ORDER BY attempt_id) FROM psync.attempt WHERE run_id = %lld",
       (long long)run_id);
    is(f, "3", "SELECT count(*) FROM psync.record_seen WHERE run_id = %lld", (long long)run_id);
    company(f, "2", "Beta", "beta.example", "2");
    chunk.done = true;
    save(f, f->hubspot, "company");
    is(f, "done 4", "SELECT status || ' ' || seen FROM psync.run_chunk WHERE run_id = %lld",
       (long long)run_id);
    is(f, "1",
       "SELECT count(*) FROM psync.attempt WHERE run_id = %lld AND resolved_by IS NOT NULL",
       (long long)run_id);
}

static void a_chunk_commits_with_its_checkpoint_and_counts(void **state)
{
    (void)state;
    with_workspace(chunk_body);
}

static void lost_body(struct fixture *f)
{
    struct save_chunk chunk;
    add_workspace(f, true);
    (void)add_run(f, &chunk);
    chunk.claim_no = 6;
    company(f, "1", "Alpha", "alpha.example", "1");
    assert_int_equal(try_save(f, f->hubspot, "company"), -1);
    assert_int_equal(f->err.code, ERR_CONFLICT);
    is(f, "0", "SELECT count(*) FROM psync.record WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
    is(f, "0", "SELECT count(*) FROM psync.attempt WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
    is(f, "0", "SELECT count(*) FROM psync.record_seen WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
}

static void a_chunk_that_was_claimed_anew_writes_nothing(void **state)
{
    (void)state;
    with_workspace(lost_body);
}

/* ---- asks that failed ---- */

static void failure_body(struct fixture *f)
{
    struct unit units[2] = {{.kind = UNIT_RECORD, .trigger = "webhook", .id = "1"},
                            {.kind = UNIT_RECORD, .trigger = "webhook", .id = "55"}};
    struct retry_plan plans[2];
    struct failure why = {.type = ET_RATE_LIMIT_BURST, .wait_ms = 1000, .http_status = 429};
    struct claim claim = {.unit_count = 2, .units = units};
    add_workspace(f, true);
    three_companies(f);
    struct save_job job = {.conn = f->hubspot,
                           .object = provider_object(f->hubspot->provider, "company"),
                           .claim = &claim,
                           .started_at_ms = clock_now_ms(),
                           .worker = "test"};
    (void)snprintf(units[0].object, sizeof units[0].object, "company");
    (void)snprintf(units[1].object, sizeof units[1].object, "company");
    for (int i = 0; i < 2; i++) {
        attempt_retry_plan(&why, 0, 0.5, &plans[i]);
    }
    ok(f, save_failure(f->store, &job, &why, plans, &f->err));
    is(f, "2",
       "SELECT count(*) FROM psync.attempt WHERE connection_id = %lld AND status = 'retrying'"
       " AND error_code = 'rate_limit_burst' AND http_status = 429 AND next_retry_at > now()",
       (long long)f->hubspot->connection_id);
    state_is(f, f->hubspot, "1", "in_sync ");
    state_is(f, f->hubspot, "55", "failing rate_limit_burst");
    company(f, "1", "Alpha", "WWW.Alpha.example", "1000.50");
    company(f, "55", "Late", "late.example", "1000.50");
    save(f, f->hubspot, "company");
    counts(f, 1, 0, 1, 0, 0);
    state_is(f, f->hubspot, "55", "in_sync ");
    is(f, "2",
       "SELECT count(*) FROM psync.attempt WHERE connection_id = %lld AND status = 'retrying'"
       " AND resolved_by IS NOT NULL",
       (long long)f->hubspot->connection_id);
    is(f, "0", "SELECT max(fail_count) FROM psync.record_seen WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
}

static void a_failed_ask_is_logged_for_each_unit_and_resolved_later(void **state)
{
    (void)state;
    with_workspace(failure_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_batch_makes_records_customers_and_log_rows),
        cmocka_unit_test(an_unchanged_batch_writes_neither_records_nor_customers),
        cmocka_unit_test(one_changed_record_changes_one_field_and_its_provenance),
        cmocka_unit_test(a_mapped_field_edited_by_hand_is_restored_and_an_unmapped_one_left),
        cmocka_unit_test(what_cannot_be_stored_fails_alone_and_is_resolved_later),
        cmocka_unit_test(a_fetch_that_started_earlier_changes_nothing),
        cmocka_unit_test(leaving_the_list_archives_and_coming_back_restores),
        cmocka_unit_test(a_deleted_company_is_archived_and_comes_back),
        cmocka_unit_test(a_field_held_back_leaves_the_others_written),
        cmocka_unit_test(an_owner_is_the_address_behind_the_owner_id),
        cmocka_unit_test(of_two_records_with_one_id_the_later_wins),
        cmocka_unit_test(a_chunk_commits_with_its_checkpoint_and_counts),
        cmocka_unit_test(a_chunk_that_was_claimed_anew_writes_nothing),
        cmocka_unit_test(a_failed_ask_is_logged_for_each_unit_and_resolved_later),
    };
    return cmocka_run_group_tests(tests, make_or_drop_database, make_or_drop_database);
}
