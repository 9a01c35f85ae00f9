import Primitives
import RESPWire
import TieredStore

/// CONFIG: settings while the server runs.
enum ConfigCommands {
    static func rows() -> [Command] {
        let flags: CommandFlags = [.admin, .noScript, .loading, .stale, .stopsWorld]
        return [Command.container(
            "config", group: "server", since: "2.0.0", "Settings.",
            [
                Command(
                    "config|get", -3, flags, group: "server", since: "2.0.0",
                    complexity: "O(N) when N is the number of configuration parameters provided",
                    "Shows settings.", syntax: "parameter [parameter ...]", get),
                Command(
                    "config|set", -4, flags, group: "server", since: "2.0.0",
                    complexity: "O(N) when N is the number of configuration parameters provided",
                    "Changes settings, all or none.",
                    syntax: "parameter value [parameter value ...]", set)
                    .tips("request_policy:all_nodes", "response_policy:all_succeeded"),
                Command(
                    "config|rewrite", 2, flags, group: "server", since: "2.8.0",
                    "Writes the settings as they are into the configuration file.", rewrite),
                Command(
                    "config|resetstat", 2, flags, group: "server", since: "2.0.0",
                    "Starts the statistics of INFO anew.", resetStatistics),
                Command.help("config", since: "5.0.0", [
                    "GET <pattern>", "    Settings whose names match, with their values.",
                    "SET <directive> <value>", "    Change a setting.",
                    "RESETSTAT", "    Start the statistics of INFO anew.",
                    "REWRITE", "    Write the settings into the configuration file.",
                ]),
            ])]
    }

    /// CONFIG GET pattern … → map of names and values, each once.
    static func get(_ call: Call) throws(CommandError) {
        var found: [(name: String, value: [UInt8])] = []
        for i in 2..<call.wordCount {
            for pair in call.configuration.values(matching: call.arguments[i])
            where !found.contains(where: { $0.name == pair.name }) { found.append(pair) }
        }
        call.reply.map(found.count)
        for (name, value) in found {
            call.bulk(name)
            value.withView { call.reply.bulk($0) }
        }
    }

    /// CONFIG SET name value … → OK; on an error nothing has changed.
    static func set(_ call: Call) throws(CommandError) {
        guard call.wordCount % 2 == 0 else { throw .syntax }
        let pairs = stride(from: 2, to: call.wordCount, by: 2).map {
            (name: call.arguments[$0].array, value: call.arguments[$0 + 1].array)
        }
        let before = pairs.compactMap { pair in
            SettingTable.find(String(decoding: pair.name, as: UTF8.self).lowercased()).map {
                (setting: $0, value: $0.value(call.configuration))
            }
        }
        // What is being loaded would be taken for all there is (Redis 7.0 DENY_LOADING_CONFIG).
        if call.server.busyness.isLoading, before.contains(where: { $0.setting.name == "appendonly" }) {
            throw Busyness.loading
        }
        let changed = try call.configuration.set(pairs)
        do throws(CommandError) {
            if changed.contains("appendonly") { try turnAppendOnly(call) }
            if changed.contains("appendfsync") { try changePolicy(call) }
        } catch {
            for (setting, value) in before { setting.assign(value, in: call.configuration) }
            throw error
        }
        call.server.applySettings()
        for name in changed { call.configuration.onChange(name) }
        call.reply.ok()
    }

    private static func turnAppendOnly(_ call: Call) throws(CommandError) {
        guard call.configuration.appendOnly else { return call.server.appendOnly.turnOff() }
        do throws(FileFailure) { try call.server.appendOnly.turnOn() } catch {
            call.server.log(.warning, "Unable to turn on AOF: \(error)")
            throw .message("""
                ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn on AOF. \
                Check server logs.
                """)
        }
    }

    private static func changePolicy(_ call: Call) throws(CommandError) {
        do throws(FileFailure) { try call.server.appendOnly.policyChanged() } catch {
            call.server.log(.warning, "append-only file: its policy stays: \(error)")
            throw .message("""
                ERR CONFIG SET failed (possibly related to argument 'appendfsync') - the append-only file \
                cannot be written. Check server logs.
                """)
        }
    }

    static func rewrite(_ call: Call) throws(CommandError) {
        if call.configuration.path.isEmpty {
            throw .message("ERR The server is running without a config file")
        }
        if let why = call.configuration.rewrite() {
            throw .message("ERR Rewriting config file: \(why)")
        }
        call.reply.ok()
    }

    static func resetStatistics(_ call: Call) throws(CommandError) {
        call.server.resetStatistics()
        call.reply.ok()
    }
}
