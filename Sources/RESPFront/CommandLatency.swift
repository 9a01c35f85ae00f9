import Primitives
import RESPWire
import TieredStore

/// How long commands take: LATENCY HISTOGRAM and INFO latencystats.
enum CommandLatency {
    /// A command's durations in all loops, or nil if there are none. The world is stopped.
    private static func total(_ rows: [Command]) -> LatencyHistogram? {
        var sum: LatencyHistogram?
        for row in rows {
            guard let own = row.latency else { continue }
            if sum == nil { sum = own } else { sum?.add(own) }
        }
        return sum
    }

    /// The same command's rows in all loops, each command once, subcommands after their containers.
    private static func all(_ server: ServerState) -> [[Command]] {
        let tables = server.fronts.map { $0.table.rows.flatMap { [$0] + $0.subcommands } }
        return tables[0].indices.map { i in tables.map { $0[i] } }
    }

    /// INFO latencystats: percentiles in microseconds.
    static func information(_ server: ServerState) -> Info.Rows {
        guard server.configuration.latencyTracking else { return [] }
        return all(server).compactMap { rows in
            guard let histogram = total(rows) else { return nil }
            let shares = server.configuration.latencyPercentiles.map { share in
                let microseconds = Double(histogram.percentile(share / 100)) / 1000
                return "p\(SettingChecks.percentile(share))=\(Info.fixed(microseconds, 3))"
            }
            return ("latency_percentiles_usec_\(rows[0].name)", shares.joined(separator: ","))
        }
    }

    /// LATENCY HISTOGRAM [command …] → map of name, calls and how many took up to each duration.
    static func histogram(_ call: Call) throws(CommandError) {
        var found: [(name: String, histogram: LatencyHistogram)] = []
        let server = call.server
        for rows in chosen(call, all(server)) {
            if let histogram = total(rows) { found.append((rows[0].name, histogram)) }
        }
        call.reply.map(found.count)
        for (name, histogram) in found {
            call.bulk(name)
            call.reply.map(2)
            call.reply.bulk("calls")
            call.reply.integer(Int64(histogram.count))
            call.reply.bulk("histogram_usec")
            let steps = steps(histogram)
            call.reply.map(steps.count)
            for (bound, count) in steps {
                call.reply.integer(bound)
                call.reply.integer(Int64(count))
            }
        }
    }

    /// Those named, in the order named; a container's name stands for its subcommands as well.
    private static func chosen(_ call: Call, _ all: [[Command]]) -> [[Command]] {
        if call.wordCount == 2 { return all }
        return (2..<call.wordCount).flatMap { i in
            let name = call.option(i)
            return all.filter { $0[0].name == name || $0[0].name.hasPrefix(name + "|") }
        }
    }

    /// Bounds that double, from a microsecond to a second, with the count up to each; only where it grows.
    private static func steps(_ histogram: LatencyHistogram) -> [(Int64, UInt64)] {
        var steps: [(Int64, UInt64)] = [], before: UInt64 = 0
        for exponent in 10...30 {
            let isLast = exponent == 30
            let count = isLast ? histogram.count : histogram.count(below: 1 << UInt64(exponent))
            // Redis's bounds are those of a histogram of two digits.
            let bound = ((Int64(1) << Int64(exponent)) + (Int64(1) << Int64(exponent - 7)) - 1) / 1000
            if count > before { steps.append((bound, count)) }
            before = count
        }
        return steps
    }
}
