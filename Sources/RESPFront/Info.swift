import Glibc
import Primitives
import RESPWire
import TieredStore

/// What INFO tells, as rows: INFO, TIER STATS and tierctl show the same.
public enum Info {
    public static let redisVersion = "7.0.15"
    public static let tierdVersion = "0.1.0"

    public struct Section: Sendable {
        /// Lower case, as INFO takes it.
        public let name: String
        /// As INFO prints it.
        public let title: String
        public let rows: [(name: String, value: String)]
    }

    typealias Rows = [(name: String, value: String)]

    /// A section's name, title, rows, and whether it is shown without being asked for.
    private static let builders:
        [(title: String, isDefault: Bool, rows: @Sendable (ServerState, Int64) -> Rows)] = [
            ("Server", true, { Info.server($0, now: $1) }),
            ("Clients", true, { state, _ in Info.clients(state) }),
            ("Memory", true, { state, _ in Info.memory(state) }),
            ("Persistence", true, { state, _ in Info.persistence(state) }),
            ("Stats", true, { Info.statistics($0, now: $1) }),
            ("Replication", true, { state, _ in Info.replication(state) }),
            ("CPU", true, { _, _ in Info.processor() }),
            ("Modules", true, { _, _ in [] }),
            ("Commandstats", false, { state, _ in Info.commands(state) }),
            ("Errorstats", true, { state, _ in Info.errors(state) }),
            ("Latencystats", false, { state, _ in CommandLatency.information(state) }),
            ("Cluster", true, { _, _ in [("cluster_enabled", "0")] }),
            ("Keyspace", true, { state, _ in Info.keyspace(state) }),
            ("Tier", true, { state, _ in Info.tier(state) }),
        ]

    /// The sections asked for by `names` (lower case; also "default", "all", "everything"; none:
    /// the default), in INFO's order. The caller has stopped the world.
    public static func sections(_ server: ServerState, names: Set<String>, now: Int64) -> [Section]
    {
        let wantsAll = !names.isDisjoint(with: ["all", "everything"])
        let wantsDefault = names.isEmpty || names.contains("default")
        return builders.compactMap { title, isDefault, rows in
            let name = title.lowercased()
            guard wantsAll || wantsDefault && isDefault || names.contains(name) else { return nil }
            return Section(name: name, title: title, rows: rows(server, now))
        }
    }

    static func text(_ sections: [Section]) -> String {
        sections.map { section in
            "# \(section.title)\r\n" + section.rows.map { "\($0.name):\($0.value)\r\n" }.joined()
        }.joined(separator: "\r\n")
    }

    // MARK: Numbers as text

    /// `value` with a fixed number of decimals.
    static func fixed(_ value: Double, _ decimals: Int) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return "0" }
        var scale: Int64 = 1
        for _ in 0..<decimals { scale *= 10 }
        let scaled = Int64((abs(value) * Double(scale)).rounded())
        let part = String(scaled % scale)
        let zeroes = String(repeating: "0", count: max(0, decimals - part.count))
        let sign = value < 0 && scaled != 0 ? "-" : ""
        return "\(sign)\(scaled / scale)" + (decimals == 0 ? "" : ".\(zeroes)\(part)")
    }

    /// "1.50M", as Redis shows bytes to people.
    static func human(_ bytes: Int) -> String {
        let units: [(String, Double)] = [("K", 0x1p10), ("M", 0x1p20), ("G", 0x1p30), ("T", 0x1p40)]
        guard bytes >= 1024, let (unit, size) = units.last(where: { Double(bytes) >= $0.1 })
        else { return "\(bytes)B" }
        return fixed(Double(bytes) / size, 2) + unit
    }

    static func percent(_ share: Double) -> String { fixed(share * 100, 2) + "%" }
}

// Sections about the process.
extension Info {
    private static func server(_ server: ServerState, now: Int64) -> Rows {
        let configuration = server.configuration
        let uptime = max(0, now - server.startedAt) / 1000
        return [
            ("redis_version", redisVersion), ("tierd_version", tierdVersion),
            ("redis_git_sha1", "00000000"), ("redis_git_dirty", "0"),
            ("redis_build_id", "0000000000000000"), ("redis_mode", "standalone"),
            ("os", operatingSystem), ("arch_bits", "64"),
            ("monotonic_clock", "POSIX clock_gettime"), ("multiplexing_api", "io_uring"),
            ("atomicvar_api", "swift-synchronization"), ("gcc_version", "0.0.0"),
            ("process_id", "\(server.processID)"), ("process_supervised", "no"),
            ("run_id", server.runID), ("tcp_port", "\(configuration.port)"),
            ("server_time_usec", "\(now * 1000)"), ("uptime_in_seconds", "\(uptime)"),
            ("uptime_in_days", "\(uptime / 86400)"), ("hz", "\(configuration.hz)"),
            ("configured_hz", "\(configuration.hz)"), ("lru_clock", "\((now / 1000) & 0xff_ffff)"),
            ("executable", executable), ("config_file", configuration.path),
            ("io_threads_active", server.fronts.count > 1 ? "1" : "0"),
            ("io_threads", "\(server.fronts.count)"),
        ]
    }

    private static var operatingSystem: String {
        var name = utsname()
        guard uname(&name) == 0 else { return "Linux" }
        func text<T>(_ field: T) -> String {
            withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        return "\(text(name.sysname)) \(text(name.release)) \(text(name.machine))"
    }

    private static var executable: String {
        var path = [UInt8](repeating: 0, count: 4096)
        let count = path.withUnsafeMutableBytes {
            readlink(
                "/proc/self/exe", $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
        }
        return String(decoding: path.prefix(max(0, count)), as: UTF8.self)
    }

    private static func clients(_ server: ServerState) -> Rows {
        let sessions = server.sessions
        return [
            ("connected_clients", "\(max(server.connectedClients(), sessions.count))"),
            ("cluster_connections", "0"), ("maxclients", "\(server.configuration.maxclients)"),
            ("client_recent_max_input_buffer", "\(sessions.map(\.inputCapacity).max() ?? 0)"),
            (
                "client_recent_max_output_buffer",
                "\(sessions.map { $0.output.capacity }.max() ?? 0)"
            ),
            ("blocked_clients", "\(server.audience.count(.waiters))"),
            ("tracking_clients", "\(server.audience.count(.trackers))"),
            ("clients_in_timeout_table", "\(sessions.filter { ($0.waiter?.deadline ?? 0) > 0 }.count)"),
        ]
    }

    private static func processor() -> Rows {
        func seconds(_ time: timeval) -> String {
            fixed(Double(time.tv_sec) + Double(time.tv_usec) / 1e6, 6)
        }
        var own = rusage(), children = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &own)
        getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &children)
        return [
            ("used_cpu_sys", seconds(own.ru_stime)), ("used_cpu_user", seconds(own.ru_utime)),
            ("used_cpu_sys_children", seconds(children.ru_stime)),
            ("used_cpu_user_children", seconds(children.ru_utime)),
            ("used_cpu_sys_main_thread", seconds(own.ru_stime)),
            ("used_cpu_user_main_thread", seconds(own.ru_utime)),
        ]
    }

    private static func scripts(_ server: ServerState, _ memory: MemoryFacts) -> Rows {
        let machines = memory.scriptMachines + memory.functionMachines
        let texts = memory.scripts + memory.functions, known = server.libraries.known
        return [
            ("used_memory_vm_eval", "\(memory.scriptMachines)"),
            ("used_memory_lua", "\(memory.scriptMachines)"),
            ("used_memory_lua_human", human(memory.scriptMachines)),
            ("used_memory_scripts_eval", "\(memory.scripts)"),
            ("number_of_cached_scripts", "\(server.scripts.count)"),
            ("number_of_functions", "\(known.functions.count)"),
            ("number_of_libraries", "\(known.libraries.count)"),
            ("used_memory_vm_functions", "\(memory.functionMachines)"),
            ("used_memory_vm_total", "\(machines)"), ("used_memory_vm_total_human", human(machines)),
            ("used_memory_functions", "\(memory.functions)"), ("used_memory_scripts", "\(texts)"),
            ("used_memory_scripts_human", human(texts)),
        ]
    }

    private static func memory(_ server: ServerState) -> Rows {
        let memory = MemoryFacts(server), configuration = server.configuration
        let system = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        func bytes(_ name: String, _ value: Int) -> Rows {
            [(name, "\(value)"), (name + "_human", human(value))]
        }
        func ratio(_ a: Int, _ b: Int) -> String { fixed(memory.share(a, of: b), 2) }
        var rows: Rows =
            bytes("used_memory", memory.used) + bytes("used_memory_rss", memory.resident)
        rows += bytes("used_memory_peak", memory.peak)
        rows += [
            ("used_memory_peak_perc", percent(memory.share(memory.used, of: memory.peak))),
            ("used_memory_overhead", "\(memory.overhead)"), ("used_memory_startup", "0"),
            ("used_memory_dataset", "\(memory.dataset)"),
            ("used_memory_dataset_perc", percent(memory.share(memory.dataset, of: memory.used))),
            ("allocator_allocated", "\(memory.live)"), ("allocator_active", "\(memory.held)"),
            ("allocator_resident", "\(memory.resident)"),
        ]
        rows += bytes("total_system_memory", system)
        rows += scripts(server, memory)
        rows += bytes("maxmemory", configuration.maxmemory)
        rows += [
            ("maxmemory_policy", configuration.maxmemoryPolicy.rawValue),
            ("allocator_frag_ratio", ratio(memory.held, memory.live)),
            ("allocator_frag_bytes", "\(memory.held - memory.live)"),
            ("allocator_rss_ratio", ratio(memory.resident, memory.held)),
            ("allocator_rss_bytes", "\(memory.resident - memory.held)"),
            ("rss_overhead_ratio", ratio(memory.resident, memory.used)),
            ("rss_overhead_bytes", "\(memory.resident - memory.used)"),
            ("mem_fragmentation_ratio", ratio(memory.resident, memory.used)),
            ("mem_fragmentation_bytes", "\(memory.resident - memory.used)"),
            ("mem_not_counted_for_evict", "0"), ("mem_replication_backlog", "0"),
            ("mem_total_replication_buffers", "0"), ("mem_clients_slaves", "0"),
            ("mem_clients_normal", "\(memory.clients)"), ("mem_cluster_links", "0"),
            ("mem_aof_buffer", "0"), ("mem_allocator", "tierd-slab"),
            ("active_defrag_running", "0"), ("lazyfree_pending_objects", "0"),
            ("lazyfreed_objects", "0"),
        ]
        return rows
    }
}
