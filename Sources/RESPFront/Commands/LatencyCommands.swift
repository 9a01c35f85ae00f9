import Primitives
import RESPWire
import TieredStore

/// LATENCY: events that took longer than latency-monitor-threshold.
enum LatencyCommands {
    static func rows() -> [Command] {
        func row(
            _ name: String, _ arity: Int, _ summary: String, syntax: String = "",
            _ handler: @escaping Command.Handler
        ) -> Command {
            Command(
                "latency|" + name, arity, [.admin, .noScript, .loading, .stale], group: "server",
                since: "2.8.13", summary, syntax: syntax, handler)
        }
        return [Command.container(
            "latency", group: "server", since: "2.8.13", "Latency spikes.",
            [
                row("latest", 2, "The latest spike of each event.", latest)
                .tips("nondeterministic_output", "request_policy:all_nodes", "response_policy:special"),
                row("history", 3, "The spikes of one event.", syntax: "event", history)
                .tips("nondeterministic_output", "request_policy:all_nodes", "response_policy:special"),
                row("graph", 3, "The spikes of one event as a picture.", syntax: "event", graph)
                .tips("nondeterministic_output", "request_policy:all_nodes", "response_policy:special"),
                row("doctor", 2, "The spikes in words.", doctor)
                .tips("nondeterministic_output", "request_policy:all_nodes", "response_policy:special"),
                row("reset", -2, "Forgets spikes.", syntax: "[event [event ...]]", reset)
                .tips("request_policy:all_nodes", "response_policy:all_succeeded"),
                Command("latency|histogram", -2, [.admin, .noScript, .loading, .stale, .stopsWorld],
                    group: "server", since: "7.0.0",
                    complexity: "O(N) where N is the number of commands with latency information",
                    "How long commands take.", syntax: "[command [command ...]]", CommandLatency.histogram)
                    .tips("nondeterministic_output", "request_policy:all_nodes", "response_policy:special"),
                Command.help("latency", since: "2.8.13", [
                    "DOCTOR", "    The spikes in words.",
                    "GRAPH <event>", "    The spikes of an event as a picture.",
                    "HISTOGRAM [<command> ...]", "    How long these commands take (default: all).",
                    "HISTORY <event>", "    Times and milliseconds of an event's spikes.",
                    "LATEST", "    The latest spike of each event.",
                    "RESET [<event> ...]", "    Forget the spikes of these events (default: all).",
                ]),
            ])]
    }

    /// LATENCY LATEST → name, time, latest and longest milliseconds of each event.
    static func latest(_ call: Call) throws(CommandError) {
        let events = call.server.latency.events.sorted { $0.key < $1.key }
        call.reply.array(events.count)
        for (name, series) in events {
            call.reply.array(4)
            call.bulk(name)
            call.reply.integer(series.samples.last?.at ?? 0)
            call.reply.integer(series.samples.last?.milliseconds ?? 0)
            call.reply.integer(series.maximum)
        }
    }

    static func history(_ call: Call) throws(CommandError) {
        let samples = call.server.latency.events[call.word(2)]?.samples ?? []
        call.reply.array(samples.count)
        for sample in samples {
            call.reply.array(2)
            call.reply.integer(sample.at)
            call.reply.integer(sample.milliseconds)
        }
    }

    static func reset(_ call: Call) throws(CommandError) {
        call.reply.integer(call.server.latency.reset((2..<call.wordCount).map { call.word($0) }))
    }

    /// One column a spike, the newest at the right, as high as its share of the longest.
    static func graph(_ call: Call) throws(CommandError) {
        let name = call.word(2)
        guard let series = call.server.latency.events[name], !series.samples.isEmpty else {
            throw .message("ERR No samples available for event '\(name)'")
        }
        let shown = series.samples.suffix(80), rows: Int64 = 4
        let high = shown.map(\.milliseconds).max()!, low = shown.map(\.milliseconds).min()!
        var text = "\(name) - high \(high) ms, low \(low) ms (all time high \(series.maximum) ms)\n"
        text += String(repeating: "-", count: 80) + "\n"
        for row in stride(from: rows, to: 0, by: -1) {
            for sample in shown {
                let height = high == 0 ? 1 : max(1, sample.milliseconds * rows / high)
                text += height >= row ? (height == row ? "#" : "|") : " "
            }
            text += "\n"
        }
        call.verbatim(text)
    }

    static func doctor(_ call: Call) throws(CommandError) {
        if call.configuration.latencyMonitorThreshold == 0 {
            return call.verbatim("""
                The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> \
                turns it on.\n
                """)
        }
        let events = call.server.latency.events.sorted { $0.key < $1.key }
        if events.isEmpty { return call.verbatim("No event has reached the threshold.\n") }
        let lines = events.map { name, series in
            let sum = series.samples.reduce(0) { $0 + $1.milliseconds }
            return "\(name): \(series.samples.count) spikes, on average "
                + "\(sum / Int64(max(1, series.samples.count))) ms, longest \(series.maximum) ms.\n"
        }
        call.verbatim(lines.joined())
    }
}
