import Primitives
import RESPWire
import Testing
import TieredStore

@testable import RESPFront

/// Proves INFO, COMMAND, SLOWLOG, LATENCY, MEMORY and the small server commands. Method: transcripts
/// of redis-server 7.0.15, and walks over every row.
struct ServerCommandsTests {
    // MARK: INFO

    /// Fields redis_exporter, datadog and the like read, and ours.
    private static let fields: [String: String] = [
        "server": """
        redis_version tierd_version redis_mode os arch_bits multiplexing_api process_id run_id tcp_port \
        uptime_in_seconds uptime_in_days hz lru_clock executable config_file
        """,
        "clients":
            "connected_clients maxclients blocked_clients tracking_clients cluster_connections",
        "memory": """
            used_memory used_memory_human used_memory_rss used_memory_peak used_memory_overhead \
            used_memory_startup used_memory_dataset used_memory_lua maxmemory maxmemory_policy \
            mem_fragmentation_ratio mem_clients_normal mem_allocator allocator_active \
            allocator_allocated allocator_resident total_system_memory lazyfree_pending_objects
            """,
        "persistence": """
            loading rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time \
            rdb_last_bgsave_status rdb_last_bgsave_time_sec aof_enabled aof_last_write_status
            """,
        "stats": """
            total_connections_received total_commands_processed instantaneous_ops_per_sec \
            total_net_input_bytes total_net_output_bytes rejected_connections expired_keys \
            evicted_keys keyspace_hits keyspace_misses pubsub_channels pubsub_patterns \
            latest_fork_usec total_error_replies instantaneous_input_kbps
            """,
        "replication": "role connected_slaves master_replid master_repl_offset repl_backlog_size",
        "cpu": "used_cpu_sys used_cpu_user used_cpu_sys_children used_cpu_user_children",
        "cluster": "cluster_enabled",
        "tier": """
            tier_items_resident tier_items_demoted tier_ram_bytes tier_ram_max_bytes \
            tier_ssd_live_bytes tier_ssd_used_bytes tier_ssd_max_bytes tier_demotions_total \
            tier_demotions_clean_total tier_promotions_total tier_cold_reads_total \
            tier_ram_hits_total tier_bytes_written_total tier_bytes_read_total \
            tier_write_amplification tier_compactions_total tier_relocations_total \
            tier_cold_read_p50_us tier_cold_read_p99_us tier_cold_read_p999_us \
            tier_throttled_clients tier_throttled_total tier_crc_errors_total \
            tier_read_errors_total tier_write_errors_total tier_segments_total \
            tier_segments_free tier_staging_bytes
            """,
    ]

    @Test func infoHasTheFieldsAgentsRead() throws {
        let client = try AdminServer().connect()
        for (section, names) in Self.fields {
            let text = try client.text("INFO", section)
            for name in names.split(separator: " ") {
                #expect(text.contains("\r\n\(name):"), "\(section) \(name)")
            }
        }
    }

    @Test func infoChoosesSections() throws {
        let client = try AdminServer().connect()
        func titles(_ words: String...) throws -> [String] {
            try #require(try client.reply(["INFO"] + words).text).split(separator: "\r\n")
                .filter { $0.hasPrefix("# ") }.map { String($0.dropFirst(2)) }
        }
        let usual = [
            "Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU", "Modules",
            "Errorstats", "Cluster", "Keyspace", "Tier",
        ]
        #expect(try titles() == usual)
        #expect(try titles("default", "COMMANDSTATS").count == usual.count + 1)
        #expect(try titles("all").count == 14)
        #expect(try titles("cpu", "server", "server") == ["Server", "CPU"])
        #expect(try titles("nope") == [])
        _ = client.raw("HELLO", "3")
        #expect(
            client.raw("INFO", "cluster") == "=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n")
    }

    @Test func infoCounts() throws {
        let server = try AdminServer(loops: 2)
        let a = server.connect(), b = server.connect(loop: 1)
        _ = a.raw("SELECT", "2")
        _ = a.raw("SET", "k", "v")
        _ = b.raw("PING")
        _ = b.raw("PING", "a", "b")
        _ = a.raw("PING")
        _ = a.raw("SET", "k")
        #expect(
            try a.text("INFO", "keyspace") == "# Keyspace\r\ndb2:keys=1,expires=0,avg_ttl=0\r\n")
        #expect(try a.text("INFO", "errorstats") == "# Errorstats\r\nerrorstat_ERR:count=2\r\n")
        let commands = try a.text("INFO", "commandstats")
        #expect(commands.contains("cmdstat_ping:calls=3,usec="))
        #expect(commands.contains(",rejected_calls=0,failed_calls=1\r\n"))
        #expect(commands.contains(",rejected_calls=1,failed_calls=0\r\n"))
        #expect(try a.text("INFO", "stats").contains("\r\ntotal_commands_processed:8\r\n"))
        #expect(a.raw("CONFIG", "RESETSTAT") == "+OK\r\n")
        #expect(try a.text("INFO", "errorstats") == "# Errorstats\r\n")
        #expect(try a.text("INFO", "stats").contains("\r\ntotal_commands_processed:2\r\n"))
        #expect(!(try a.text("INFO", "commandstats").contains("cmdstat_ping")))
    }

    @Test func numbersAsText() {
        #expect(Info.fixed(1.005, 2) == "1.00" || Info.fixed(1.005, 2) == "1.01")
        #expect(Info.fixed(0.05, 2) == "0.05")
        #expect(Info.fixed(-3.456, 1) == "-3.5")
        #expect(Info.fixed(.nan, 1) == "0")
        #expect(Info.human(1023) == "1023B")
        #expect(Info.human(940952) == "918.90K")
        #expect(Info.human(25_274_793_984) == "23.54G")
    }

    // MARK: COMMAND

    /// "name arity flags categories" of redis-server 7.0.15's COMMAND INFO.
    private static let facts = [
        "config|get -3 admin,noscript,loading,stale @admin,@slow,@dangerous",
        "config -2  @slow", "config|help 2 loading,stale @slow",
        "client|id 2 noscript,loading,stale @slow,@connection",
        "client|kill -3 admin,noscript,loading,stale @admin,@slow,@dangerous,@connection",
        "auth -2 noscript,loading,stale,fast,no_auth,allow_busy @fast,@connection",
        "hello -1 noscript,loading,stale,fast,no_auth,allow_busy @fast,@connection",
        "ping -1 fast @fast,@connection", "echo 2 loading,stale,fast @fast,@connection",
        "info -1 loading,stale @slow,@dangerous", "command -1 loading,stale @slow,@connection",
        "command|getkeys -4 loading,stale @slow,@connection",
        "memory|usage -3 readonly @read,@slow",
        "slowlog|len 2 admin,loading,stale @admin,@slow,@dangerous",
        "latency|reset -2 admin,noscript,loading,stale @admin,@slow,@dangerous",
        "time 1 loading,stale,fast @fast", "lolwut -1 readonly,fast @read,@fast",
        "shutdown -1 admin,noscript,loading,stale,no_multi,allow_busy @admin,@slow,@dangerous",
        "role 1 noscript,loading,stale,fast @admin,@fast,@dangerous",
        "lastsave 1 loading,stale,fast @admin,@fast,@dangerous",
        "acl|whoami 2 noscript,loading,stale @slow",
        "debug -2 admin,noscript,loading,stale @admin,@slow,@dangerous",
    ]

    @Test func commandInfoIsRediss() throws {
        let client = try AdminServer().connect()
        for fact in Self.facts {
            let words = fact.split(separator: " ", omittingEmptySubsequences: false).map(
                String.init)
            let reply = try #require(
                try client.reply("COMMAND", "INFO", words[0]).members?.first?.members)
            func list(_ i: Int) -> String {
                (reply[i].members ?? []).compactMap(\.text).joined(separator: ",")
            }
            #expect("\(reply[0].text!) \(reply[1].text!) \(list(2)) \(list(6))" == fact)
        }
        #expect(client.raw("COMMAND", "INFO", "nope") == "*1\r\n*-1\r\n")
        #expect(client.raw("COMMAND", "INFO", "get|x") == "*1\r\n*-1\r\n")
    }

    @Test func everyRowIsDescribed() throws {
        let server = try AdminServer()
        let client = server.connect()
        let rows = server.state.fronts[0].table.rows
        for version in ["2", "3"] {
            _ = try client.reply("HELLO", version)
            let all = try #require(try client.reply("COMMAND").members)
            #expect(all.count == rows.count)
            for (reply, row) in zip(all, rows) {
                let parts = try #require(reply.members)
                #expect(parts.count == 10)
                #expect(parts[0].text == row.name)
                #expect(parts[9].members?.count == row.subcommands.count)
            }
        }
        #expect(client.raw("COMMAND", "COUNT") == ":\(rows.count)\r\n")
        guard case .map(let docs) = try client.reply("COMMAND", "DOCS") else {
            Issue.record("COMMAND DOCS is no map")
            return
        }
        #expect(docs.count == rows.count)
        for row in rows.flatMap({ [$0] + $0.subcommands }) {
            #expect(!row.summary.isEmpty && !row.since.isEmpty && !row.group.isEmpty, "\(row.name)")
            #expect(row.syntax.isEmpty == CommandSyntax.arguments(row).isEmpty, "\(row.name)")
        }
    }

    @Test func keySpecifications() throws {
        let client = try AdminServer().connect()
        _ = client.raw("HELLO", "3")
        #expect(
            client.raw("COMMAND", "INFO", "get") == "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n"
                + "+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~3\r\n+@read\r\n+@string\r\n+@fast\r\n~0\r\n~1\r\n"
                + "%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n"
                + "$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n%2\r\n"
                + "$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n"
                + ":1\r\n$5\r\nlimit\r\n:0\r\n~0\r\n")
        #expect(
            client.raw("COMMAND", "GETKEYSANDFLAGS", "get", "d")
                == "*1\r\n*2\r\n$1\r\nd\r\n~2\r\n+RO\r\n+access\r\n")
        #expect(client.raw("COMMAND", "GETKEYS", "memory", "usage", "k") == "*1\r\n$1\r\nk\r\n")
        #expect(
            client.raw("COMMAND", "GETKEYS", "nope", "x") == "-ERR Invalid command specified\r\n")
        #expect(
            client.raw("COMMAND", "GETKEYS", "ping", "x")
                == "-ERR The command has no key arguments\r\n")
        #expect(
            client.raw("COMMAND", "GETKEYS", "get", "x", "y")
                == "-ERR Invalid number of arguments specified for command\r\n")
        #expect(client.raw("COMMAND", "LIST", "FILTERBY", "foo", "x") == "-ERR syntax error\r\n")
        let listed = try client.reply("COMMAND", "LIST", "FILTERBY", "PATTERN", "config|re*")
        #expect(
            Set(listed.members?.compactMap(\.text) ?? []) == ["config|rewrite", "config|resetstat"])
        let dangerous = try client.reply("COMMAND", "LIST", "FILTERBY", "ACLCAT", "dangerous")
        #expect(dangerous.members?.contains { $0.text == "info" } == true)
    }

    @Test func pingIsDocumentedAsInRedis() throws {
        let client = try AdminServer().connect()
        _ = client.raw("HELLO", "3")
        #expect(
            client.raw("COMMAND", "DOCS", "ping").hasSuffix(
                "$9\r\narguments\r\n*1\r\n%3\r\n"
                    + "$4\r\nname\r\n$7\r\nmessage\r\n$4\r\ntype\r\n$6\r\nstring\r\n$5\r\nflags\r\n"
                    + "~1\r\n+optional\r\n"
            ))
        #expect(client.raw("COMMAND", "DOCS", "nope") == "%0\r\n")
    }

    @Test func syntaxBecomesArguments() {
        func shape(_ syntax: String) -> String {
            func one(_ a: CommandSyntax.Argument) -> String {
                var text = (a.token.map { $0 + "=" } ?? "") + "\(a.name):\(a.type)"
                if !a.parts.isEmpty { text += "(" + a.parts.map(one).joined(separator: " ") + ")" }
                return text + (a.isOptional ? "?" : "") + (a.isMultiple ? "+" : "")
            }
            let row = Command("x", 1, [], group: "g", since: "1", "s", syntax: syntax) {
                _ throws(CommandError) in
            }
            return CommandSyntax.arguments(row).map(one).joined(separator: " ")
        }
        #expect(shape("key [key ...]") == "key:key+")
        #expect(shape("key value [key value ...]") == "key:block(key:key value:string)+")
        #expect(
            shape("key value [NX | XX] [GET] [EX seconds | KEEPTTL]") == """
                key:key value:string nx_xx:oneof(NX=nx:pure-token XX=xx:pure-token)? GET=get:pure-token? \
                seconds_keepttl:oneof(EX=seconds:integer KEEPTTL=keepttl:pure-token)?
                """)
        #expect(
            shape("[AUTH username password]") == "AUTH=auth:block(username:string password:string)?"
        )
    }

    // MARK: The rest

    @Test func slowlog() throws {
        let server = try AdminServer(["--slowlog-log-slower-than", "0", "--slowlog-max-len", "2"])
        let client = server.connect()
        _ = client.raw("CLIENT", "SETNAME", "me")
        _ = client.raw("ECHO", "a")
        _ = client.raw("ECHO", "b")
        #expect(client.raw("SLOWLOG", "LEN") == ":2\r\n")
        let entry = try #require(try client.reply("SLOWLOG", "GET", "1").members?.first?.members)
        #expect(entry.count == 6)
        #expect(entry[1] == .integer(1_700_000_000))
        #expect(entry[3].members?.compactMap(\.text) == ["SLOWLOG", "LEN"])
        #expect(entry[4].text == "127.0.0.1:5000")
        #expect(entry[5].text == "me")
        let wrong = "-ERR count should be greater than or equal to -1\r\n"
        #expect(client.raw("SLOWLOG", "GET", "x") == wrong)
        #expect(client.raw("SLOWLOG", "GET", "-2") == wrong)
        _ = client.raw("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        #expect(try client.reply("SLOWLOG", "GET", "-1").members?.count == 2)
        #expect(client.raw("SLOWLOG", "RESET") == "+OK\r\n")
        #expect(client.raw("SLOWLOG", "GET") == "*0\r\n")
    }

    @Test func latency() throws {
        let server = try AdminServer()
        let client = server.connect()
        server.state.latency.note("command", milliseconds: 30, at: 100, threshold: 1)
        server.state.latency.note("command", milliseconds: 10, at: 101, threshold: 1)
        #expect(
            client.raw("LATENCY", "LATEST") == "*1\r\n*4\r\n$7\r\ncommand\r\n:101\r\n:10\r\n:30\r\n"
        )
        #expect(
            client.raw("LATENCY", "HISTORY", "command")
                == "*2\r\n*2\r\n:100\r\n:30\r\n*2\r\n:101\r\n:10\r\n")
        #expect(client.raw("LATENCY", "HISTORY", "x") == "*0\r\n")
        #expect(
            client.raw("LATENCY", "GRAPH", "x") == "-ERR No samples available for event 'x'\r\n")
        #expect(
            try client.text("LATENCY", "GRAPH", "command").hasPrefix(
                "command - high 30 ms, low 10 ms (all time high 30 ms)\n"))
        #expect(client.raw("LATENCY", "RESET", "x", "command") == ":1\r\n")
        #expect(client.raw("LATENCY", "LATEST") == "*0\r\n")
    }

    @Test func memory() throws {
        let client = try AdminServer().connect()
        #expect(client.raw("MEMORY", "USAGE", "x") == "$-1\r\n")
        _ = client.raw("SET", "x", "1")
        guard case .integer(let bytes) = try client.reply("MEMORY", "USAGE", "x", "SAMPLES", "3")
        else {
            Issue.record("no integer")
            return
        }
        #expect((20...100).contains(bytes))
        #expect(client.raw("MEMORY", "USAGE", "x", "samples") == "-ERR syntax error\r\n")
        #expect(client.raw("MEMORY", "USAGE", "x", "samples", "x")
            == "-ERR value is not an integer or out of range\r\n")
        #expect(client.raw("MEMORY", "PURGE") == "+OK\r\n")
        let stats = try #require(try client.reply("MEMORY", "STATS").members)
        let at = try #require(stats.firstIndex { $0.text == "keys.count" })
        #expect(stats[at + 1] == .integer(1))
    }

    @Test func smallCommands() throws {
        let server = try AdminServer()
        let client = server.connect()
        #expect(client.raw("ROLE") == "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")
        #expect(client.raw("LASTSAVE") == ":1699999990\r\n")
        #expect(try client.reply("TIME").members?.count == 2)
        #expect(try client.text("LOLWUT").contains("7.0.15"))
        #expect(client.raw("SHUTDOWN", "foo") == "-ERR syntax error\r\n")
        #expect(client.raw("SHUTDOWN", "SAVE", "NOSAVE") == "-ERR syntax error\r\n")
        #expect(client.raw("SHUTDOWN", "ABORT") == "-ERR No shutdown in progress.\r\n")
        #expect(client.raw("DEBUG", "SLEEP", "0") == """
            -ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", \
            you can run it from a local connection, otherwise you need to set this option in the \
            configuration file, and then restart the server.\r\n
            """)
        #expect(server.shutdowns == 0)
        #expect(client.raw("SHUTDOWN", "NOSAVE") == "")
        #expect(server.shutdowns == 1)
    }

    @Test func debug() throws {
        let server = try AdminServer(["--enable-debug-command", "local"], loops: 2)
        let client = server.connect()
        #expect(client.raw("DEBUG", "SLEEP", "0") == "+OK\r\n")
        #expect(client.raw("DEBUG", "SET-ACTIVE-EXPIRE", "0") == "+OK\r\n")
        #expect(server.state.store.workers.allSatisfy { !$0.activeExpiry })
        #expect(client.raw("DEBUG", "OBJECT", "x") == "-ERR no such key\r\n")
        _ = client.raw("SET", "x", "abc")
        #expect(client.raw("DEBUG", "OBJECT", "x").contains("serializedlength:3"))
        #expect(client.raw("DEBUG", "NOPE").hasPrefix("-ERR unknown subcommand or wrong number"))
        let far = server.connect(from: "10.0.0.1:99")
        #expect(far.raw("DEBUG", "SLEEP", "0").hasPrefix("-ERR DEBUG command not allowed."))
    }

    @Test func everyHelpAnswers() throws {
        let server = try AdminServer()
        let client = server.connect()
        // CLUSTER answers an error to everything while it is off, as in Redis 7.0.
        for row in server.state.fronts[0].table.rows
        where row.name != "cluster" && row.subcommands.contains(where: { $0.ownName == "help" }) {
            let lines = try #require(try client.reply(row.name, "HELP").members).compactMap(\.text)
            #expect(
                lines.first
                    == "\(row.name.uppercased()) <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
            )
            #expect(lines.dropLast().last == "HELP")
        }
    }
}
