"""Tests of one Redis that say nothing about a Redis Cluster, and why."""

_TRIPS = "they are counted, and there are others"
_PATCHED = "it replaces a step that has another name"
_AWAY = "its Redis that is away is not the cluster"
_ALONE = "it prepares, reads or flushes Redis as if it were one server"
_SECOND = "its second process uses one Redis"

_NAMES = {
    _TRIPS: """
        test_computed.test_it_is_computed_once_and_is_a_hit_from_then_on
        test_documents.test_a_hit_is_one_round_trip
        test_documents.test_several_are_one_round_trip
        test_documents.test_a_write_costs_the_same_however_many_show_the_row
        test_documents.test_strict_asks_for_the_epoch_in_the_same_round_trip
        test_inspect_key.test_it_takes_no_lease_and_counts_no_read
        test_pages.test_a_hit_costs_one_round_trip_and_no_query
        test_pages.test_a_page_of_changed_rows_is_made_by_one_query_for_its_keys
        test_warm.test_a_batch_costs_two_round_trips
        test_row_count.test_a_large_keyspace_costs_at_most_two_round_trips_before_it_was_walked
        test_row_count.test_a_large_keyspace_that_was_walked_costs_one_round_trip
        test_row_count.test_keys_is_never_asked
    """,
    _PATCHED: """
        test_documents.test_a_statement_of_very_many_rows_marks_one_stamp
        test_pages.test_rows_are_repaired_before_stamps
        test_pages.test_a_table_is_swept_before_its_stamps_are_released
        test_warm.test_a_fill_whose_answer_is_lost_is_done_again
        test_verify.test_a_look_whose_answer_is_lost_is_done_again
        test_verify.test_a_step_of_the_scan_whose_answer_is_lost_is_done_again
        test_write.test_the_token_is_one_for_the_whole_transaction
        test_write.test_a_commit_without_an_answer_leaves_its_marks
        test_write.test_a_failure_of_the_cache_layer_itself_rolls_back
        test_write.test_a_process_killed_between_commit_and_push_leaves_no_stale_row
    """,
    _AWAY: """
        test_documents.test_with_redis_away_a_write_is_logged_with_its_stamps
        test_interleavings.test_without_redis_reads_and_writes_go_on
        test_pages.test_without_redis
        test_clear.test_without_redis_it_says_so
        test_verify.test_without_redis_it_says_so
        test_warm.test_without_redis_it_says_so
    """,
    _ALONE: """
        test_clear.test_rows_nulls_and_leases_go_and_marks_stay
        test_clear.test_keys_of_others_stay
        test_clear.test_many_keys_go_in_batches
        test_documents.test_a_stamp_that_is_evicted_is_made_anew
        test_retire_variants.test_while_it_closes_nothing_is_pushed_into_it
        test_retire_variants.test_not_on_another_server
        test_retire_variants.test_what_is_used_is_said_to_be_and_what_is_not_goes
        test_retire_variants.test_one_that_has_said_nothing_yet_is_new
        test_retire_variants.test_a_late_push_finds_that_others_came_in_between
        test_row_count.test_a_count_does_not_make_rows_look_used_to_an_evicting_redis
        test_variants.test_a_variant_that_is_entered_while_a_writer_is_at_work
        test_row_count.test_only_rows_of_cached_models_count
        test_row_count.test_a_large_keyspace_is_not_walked_while_the_caller_waits
        test_variants.test_marks_that_are_not_those_found_are_not_taken_over
        test_variants.test_after_a_flush_a_variant_is_entered_anew
        test_variants.test_a_reconcile_sweeps_variants_too
        test_variants.test_a_process_that_has_met_redis_serves_hits_without_postgres
        test_verify.test_marks_leases_and_keys_of_others_are_not_compared
        test_warm.test_what_is_cached_stays_as_it_is
    """,
    _SECOND: """
        test_variants.test_a_rolling_deploy_under_load
    """,
}
LEFT_OUT = {name: why for why, names in _NAMES.items() for name in names.split()}
