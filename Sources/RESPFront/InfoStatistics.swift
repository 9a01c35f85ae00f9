import Primitives
import TieredStore

// Sections of INFO about what has been done.
extension Info {
    static func persistence(_ server: ServerState) -> Rows {
        let saves = server.saver.facts, now = server.fronts[0].worker.now
        var rows: Rows = [
            ("loading", server.busyness.isLoading ? "1" : "0"), ("async_loading", "0"),
            ("current_cow_peak", "0"), ("current_cow_size", "0"), ("current_cow_size_age", "0"),
            ("current_fork_perc", "0.00"),
            ("current_save_keys_processed", "0"), ("current_save_keys_total", "0"),
            ("rdb_changes_since_last_save", "\(server.saver.changes)"),
            ("rdb_bgsave_in_progress", saves.startedAt == nil ? "0" : "1"),
            ("rdb_last_save_time", "\(saves.lastSaved)"),
            ("rdb_last_bgsave_status", saves.lastSucceeded ? "ok" : "err"),
            ("rdb_last_bgsave_time_sec", "\(saves.lastSeconds)"),
            ("rdb_last_bgsave_unreadable_keys", "\(saves.unreadable)"),
            ("rdb_current_bgsave_time_sec", saves.startedAt.map { "\((now - $0) / 1000)" } ?? "-1"),
            ("rdb_saves", "\(saves.count)"), ("rdb_last_cow_size", "0"), 
            ("rdb_last_load_keys_expired", "\(server.lastLoad?.keysExpired ?? 0)"),
            ("rdb_last_load_keys_loaded", "\(server.lastLoad?.keysLoaded ?? 0)"),
        ]
        rows += appendOnly(server, now)
        let backups = saves.backups
        rows += [
            ("backup_in_progress", backups.running == nil ? "0" : "1"), ("backups_taken", "\(backups.count)"),
            ("backup_last_name", backups.path), ("backup_last_time", "\(backups.endedAt)"),
            ("backup_last_status", backups.failure == nil ? "ok" : "err"),
            ("backup_last_unreadable_keys", "\(backups.unreadable)"),
        ]
        rows += [("module_fork_in_progress", "0"), ("module_fork_last_cow_size", "0")]
        rows += [
            ("recovered_from", server.recovery.source.rawValue),
            ("recovery_seconds", fixed(Double(server.recovery.milliseconds) / 1000, 3)),
            ("checkpoint_keys", "\(server.recovery.checkpointKeys)"),
            ("checkpoint_last_seconds", server.recovery.checkpointMilliseconds < 0
                ? "-1" : fixed(Double(server.recovery.checkpointMilliseconds) / 1000, 3)),
        ]
        if let (began, done, all) = server.loadFacts {
            let seconds = max(1, (now - began) / 1000)
            rows += [
                ("loading_start_time", "\(began / 1000)"), ("loading_total_bytes", "\(all)"),
                ("loading_rdb_used_mem", "0"), ("loading_loaded_bytes", "\(done)"),
                ("loading_loaded_perc", fixed(Double(done) / Double(max(1, all)) * 100, 2)),
                ("loading_eta_seconds", "\(done == 0 ? 1 : Int64(all - done) * seconds / Int64(done))"),
            ]
        }
        return rows
    }

    private static func appendOnly(_ server: ServerState, _ now: Int64) -> Rows {
        let file = server.appendOnly!, facts = file.facts
        var rows: Rows = [
            ("aof_enabled", file.state == .off ? "0" : "1"),
            ("aof_rewrite_in_progress", facts.rewriteStartedAt == nil ? "0" : "1"),
            ("aof_rewrite_scheduled", facts.isScheduled ? "1" : "0"),
            ("aof_last_rewrite_time_sec", "\(facts.lastRewriteSeconds)"),
            ("aof_current_rewrite_time_sec", facts.rewriteStartedAt.map { "\((now - $0) / 1000)" } ?? "-1"),
            ("aof_last_bgrewrite_status", facts.lastRewriteSucceeded ? "ok" : "err"),
            ("aof_rewrites", "\(facts.rewrites)"),
            ("aof_rewrites_consecutive_failures", "\(facts.failures)"),
            ("aof_last_write_status", file.hasFailed ? "err" : "ok"),
            ("aof_last_cow_size", "0"),
        ]
        guard let log = file.log, file.state != .off else { return rows }
        rows += [
            ("aof_current_size", "\(file.byteCount)"), ("aof_base_size", "\(facts.rewrittenBytes)"),
            ("aof_pending_rewrite", "0"), ("aof_buffer_length", "\(log.pendingBytes)"),
            ("aof_pending_bio_fsync", log.syncIsPending ? "1" : "0"),
            ("aof_delayed_fsync", "\(log.delayedSyncs)"),
            ("aof_commits", "\(log.mark)"), ("aof_commits_durable", "\(log.durable)"),
        ]
        return rows
    }

    static func statistics(_ server: ServerState, now: Int64) -> Rows {
        let counters = server.store.counters, total = totals(server, now: now)
        let rates = rates(server, total)
        let errors = server.fronts.reduce(0) { $0 + $1.errorCounts.values.reduce(0, +) }
        var rows: Rows = [
            (
                "total_connections_received",
                "\(server.receivedConnections() - server.receivedBefore)"
            ),
            ("total_commands_processed", "\(total.commands)"),
            ("instantaneous_ops_per_sec", fixed(rates.commands, 0)),
            ("total_net_input_bytes", "\(total.inputBytes)"),
            ("total_net_output_bytes", "\(total.outputBytes)"),
            ("total_net_repl_input_bytes", "0"), ("total_net_repl_output_bytes", "0"),
            ("instantaneous_input_kbps", fixed(rates.input / 1024, 2)),
            ("instantaneous_output_kbps", fixed(rates.output / 1024, 2)),
            ("instantaneous_input_repl_kbps", "0.00"), ("instantaneous_output_repl_kbps", "0.00"),
            ("rejected_connections", "\(server.rejectedConnections() - server.rejectedBefore)"),
            ("sync_full", "0"), ("sync_partial_ok", "0"), ("sync_partial_err", "0"),
            ("expired_keys", "\(counters.expiredKeys)"), ("expired_stale_perc", "0.00"),
            ("expired_time_cap_reached_count", "0"), ("expire_cycle_cpu_milliseconds", "0"),
            ("evicted_keys", "\(counters.evictedKeys)"), ("evicted_clients", "0"),
            ("total_eviction_exceeded_time", "0"), ("current_eviction_exceeded_time", "0"),
            ("keyspace_hits", "\(counters.keyspaceHits)"),
            ("keyspace_misses", "\(counters.keyspaceMisses)"),
        ]
        rows += [
            ("pubsub_channels", "\(server.pubsub.nameCount(.channel))"),
            ("pubsub_patterns", "\(server.pubsub.nameCount(.pattern))"),
            ("pubsubshard_channels", "\(server.pubsub.nameCount(.shardChannel))"),
        ]
        rows += [
            "latest_fork_usec", "total_forks", "migrate_cached_sockets", "slave_expires_tracked_keys",
            "active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits",
            "active_defrag_key_misses", "total_active_defrag_time", "current_active_defrag_time",
        ].map { ($0, "0") }
        rows += [
            ("tracking_total_keys", "\(server.trackedKeys.value)"),
            ("tracking_total_items", "\(server.trackedItems.value)"),
            ("tracking_total_prefixes", "\(server.broadcasts.count)"),
            ("unexpected_error_replies", "0"),
        ]
        rows.append(("total_error_replies", "\(errors)"))
        rows += [
            "dump_payload_sanitizations", "total_reads_processed", "total_writes_processed",
            "io_threaded_reads_processed", "io_threaded_writes_processed", "reply_buffer_shrinks",
            "reply_buffer_expands",
        ].map { ($0, "0") }
        return rows
    }

    private static func totals(_ server: ServerState, now: Int64) -> ServerState.RateMark {
        server.fronts.reduce(into: ServerState.RateMark(at: now)) { sum, front in
            sum.commands += front.commandsProcessed
            sum.inputBytes += front.inputBytes
            sum.outputBytes += front.outputBytes
        }
    }

    /// A second's worth, since INFO was last asked or the server started: agents that ask every
    /// so often get the mean over their interval.
    private static func rates(
        _ server: ServerState, _ total: ServerState.RateMark
    ) -> (commands: Double, input: Double, output: Double) {
        let before = server.rateMark
        let seconds = Double(max(1, total.at - max(before.at, server.startedAt))) / 1000
        if total.at - before.at >= 100 { server.rateMark = total }
        func rate(_ new: UInt64, _ old: UInt64) -> Double { Double(new - min(new, old)) / seconds }
        return (
            rate(total.commands, before.commands), rate(total.inputBytes, before.inputBytes),
            rate(total.outputBytes, before.outputBytes))
    }

    static func replication(_ server: ServerState) -> Rows {
        [
            ("role", "master"), ("connected_slaves", "0"), ("master_failover_state", "no-failover"),
            ("master_replid", server.runID), ("master_replid2", String(repeating: "0", count: 40)),
            ("master_repl_offset", "0"), ("second_repl_offset", "-1"), ("repl_backlog_active", "0"),
            ("repl_backlog_size", "1048576"), ("repl_backlog_first_byte_offset", "0"),
            ("repl_backlog_histlen", "0"),
        ]
    }

    /// Sums over the loops' rows of each command that was called or refused.
    static func commands(_ server: ServerState) -> Rows {
        let tables = server.fronts.map { $0.table.rows.flatMap { [$0] + $0.subcommands } }
        return tables[0].indices.compactMap { i in
            let rows = tables.map { $0[i] }
            let calls = rows.reduce(0) { $0 + $1.calls }
            let rejected = rows.reduce(0) { $0 + $1.rejected }
            let failed = rows.reduce(0) { $0 + $1.failed }
            guard calls + rejected + failed > 0 else { return nil }
            let ticks = rows.reduce(0) { $0 + $1.ticks }
            let microseconds = Double(ticks) / server.ticksPerMicrosecond
            let each = calls == 0 ? 0 : microseconds / Double(calls)
            return ("cmdstat_\(rows[0].name)", """
                calls=\(calls),usec=\(fixed(microseconds, 0)),usec_per_call=\(fixed(each, 2)),\
                rejected_calls=\(rejected),failed_calls=\(failed)
                """)
        }
    }

    static func errors(_ server: ServerState) -> Rows {
        var counts: [String: UInt64] = [:]
        for front in server.fronts { counts.merge(front.errorCounts, uniquingKeysWith: +) }
        return counts.sorted { $0.key < $1.key }.map {
            ("errorstat_\($0.key)", "count=\($0.value)")
        }
    }

    static func keyspace(_ server: ServerState) -> Rows {
        (0..<server.store.options.databases).compactMap { database in
            let keys = server.store.keyCount(database: database)
            guard keys > 0 else { return nil }
            let volatile = server.store.volatileCount(database: database)
            return ("db\(database)", "keys=\(keys),expires=\(volatile),avg_ttl=0")
        }
    }

    /// What only a tiered server has. Latencies in microseconds.
    static func tier(_ server: ServerState) -> Rows {
        let store = server.store, counters = store.counters, log = store.log
        func latency(_ share: Double) -> String {
            fixed(Double(counters.coldReadLatency.percentile(share)) / 1000, 1)
        }
        let throttled = store.workers.reduce(0) { $0 + $1.waitingWriters }
        let staging = store.workers.reduce(0) { $0 + $1.stagingBytes }
        return [
            ("tier_items_resident", "\(store.residentItems)"),
            ("tier_items_demoted", "\(store.demotedItems)"),
            ("tier_ram_bytes", "\(store.ledger.used)"),
            ("tier_ram_max_bytes", "\(store.ledger.limit)"),
            ("tier_ssd_live_bytes", "\(log.liveBytes)"),
            ("tier_ssd_used_bytes", "\(log.usedBytes)"),
            ("tier_ssd_max_bytes", "\(log.capacityBytes)"),
            ("tier_demotions_total", "\(counters.demotions)"),
            ("tier_demotions_clean_total", "\(counters.cleanDemotions)"),
            ("tier_promotions_total", "\(counters.promotions)"),
            ("tier_warmed_values_total", "\(counters.warmedValues)"),
            ("tier_warm_up_in_progress", store.isWarmingUp ? "1" : "0"),
            ("tier_cold_reads_total", "\(counters.coldReads)"),
            ("tier_ram_hits_total", "\(counters.ramHits)"),
            ("tier_bytes_written_total", "\(counters.bytesWritten)"),
            ("tier_bytes_read_total", "\(counters.bytesRead)"),
            ("tier_write_amplification", fixed(counters.writeAmplification, 3)),
            ("tier_compactions_total", "\(counters.compactions)"),
            ("tier_relocations_total", "\(counters.relocations)"),
            ("tier_cold_read_p50_us", latency(0.5)), ("tier_cold_read_p99_us", latency(0.99)),
            ("tier_cold_read_p999_us", latency(0.999)),
            ("tier_throttled_clients", "\(throttled)"),
            ("tier_throttled_total", "\(counters.throttled)"),
            ("tier_crc_errors_total", "\(counters.checksumErrors)"),
            ("tier_read_errors_total", "\(counters.readErrors)"),
            ("tier_write_errors_total", "\(counters.writeErrors)"),
            ("tier_segments_total", "\(log.segmentCount)"),
            ("tier_segments_free", "\(log.freeCount)"),
            ("tier_segments_retired", "\(log.retiredCount)"), ("tier_staging_bytes", "\(staging)"),
        ]
    }
}
