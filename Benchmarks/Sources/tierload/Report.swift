import Foundation

/// What a run says at its end.
struct Report {
    let plan: Plan
    let outcome: Outcome
    /// Microseconds of CPU time of the process --pid and of the generator during the run.
    let server: (user: Double, system: Double)
    let own: (user: Double, system: Double)

    private struct Latency: Codable {
        var mean, p50, p90, p99, p999, p9999, max: Double
    }

    private struct Line: Codable {
        var command: String
        var requests, missing, wrong, errors: Int
        var latency_us: Latency
    }

    private struct Series: Codable {
        var seconds, requests_per_second, p50_us, p99_us, longest_us, resident_mib: [Double]
        var missing: [Int]
    }

    private struct Document: Codable {
        var arguments: [String]
        var seconds, rps: Double
        var requests, missing, wrong, errors: Int
        var first_error: String
        var latency_us: Latency
        var server_user_us, server_system_us, generator_us: Double
        var commands: [Line]
        /// Percentile and microseconds, at each halving of the rest.
        var curve: [[Double]]
        var series: Series?
    }

    private func latency(_ row: Outcome.Row) -> Latency {
        func at(_ percentile: Double) -> Double { Double(row.latency.valueAtPercentile(percentile)) / 1000 }
        guard row.requests > 0 else {
            return Latency(mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, p9999: 0, max: 0)
        }
        return Latency(
            mean: (row.latency.mean / 10).rounded() / 100, p50: at(50), p90: at(90), p99: at(99),
            p999: at(99.9),
            p9999: at(99.99), max: Double(row.latency.max) / 1000)
    }

    func json() -> String {
        let total = outcome.total, count = Double(max(1, total.requests))
        let document = Document(
            arguments: ["tierload"] + CommandLine.arguments.dropFirst(),
            seconds: outcome.nanoseconds.seconds,
            rps: (Double(total.requests) / outcome.nanoseconds.seconds).rounded(), requests: total.requests,
            missing: total.missing, wrong: total.wrong, errors: total.errors,
            first_error: outcome.firstError,
            latency_us: latency(total), server_user_us: server.user / count,
            server_system_us: server.system / count,
            generator_us: (own.user + own.system) / count,
            commands: zip(plan.mix, outcome.rows).map { template, row in
                Line(
                    command: template.text, requests: row.requests, missing: row.missing, wrong: row.wrong,
                    errors: row.errors, latency_us: latency(row))
            },
            curve: total.requests == 0
                ? []
                : total.latency.percentiles(ticksPerHalfDistance: 4).map {
                    [$0.percentileLevelIteratedTo, Double($0.value) / 1000]
                },
            series: outcome.samples.isEmpty ? nil : series())
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(document) else { return "{}" }
        return String(decoding: data, as: UTF8.self)
    }

    private func series() -> Series {
        var series = Series(
            seconds: [], requests_per_second: [], p50_us: [], p99_us: [], longest_us: [], resident_mib: [],
            missing: [])
        var before = 0.0
        for sample in outcome.samples.sorted(by: { $0.at < $1.at }) {
            let seconds = sample.at.seconds
            series.seconds.append((seconds * 1000).rounded() / 1000)
            series.requests_per_second.append(
                (Double(sample.requests) / max(1e-9, seconds - before)).rounded())
            series.p50_us.append(Double(sample.p50) / 1000)
            series.p99_us.append(Double(sample.p99) / 1000)
            series.longest_us.append(Double(sample.longest) / 1000)
            series.resident_mib.append((Double(sample.resident) / 1_048_57.6).rounded() / 10)
            series.missing.append(sample.missing)
            before = seconds
        }
        return series
    }

    /// A table for people.
    func text() -> String {
        let total = outcome.total, count = Double(max(1, total.requests))
        var text = String(
            format: "%d requests in %.2f s: %.0f a second\n\n", total.requests, outcome.nanoseconds.seconds,
            Double(total.requests) / outcome.nanoseconds.seconds)
        let heads = ["requests", "p50", "p90", "p99", "p99.9", "longest µs", "missing", "wrong", "errors"]
        text += Report.line("command", heads)
        for (template, row) in zip(plan.mix, outcome.rows) { text += line(template.text, row) }
        if plan.mix.count > 1 { text += line("all", total) }
        if plan.pid != 0 {
            text += String(
                format: "\nserver: %.2f µs a request in user mode, %.2f in the kernel", server.user / count,
                server.system / count)
        }
        text += String(format: "\ngenerator: %.2f µs of CPU a request\n", (own.user + own.system) / count)
        if !outcome.firstError.isEmpty { text += "first error: \(outcome.firstError)\n" }
        return text
    }

    private func line(_ name: String, _ row: Outcome.Row) -> String {
        let latency = latency(row)
        let times = [latency.p50, latency.p90, latency.p99, latency.p999, latency.max]
        return Report.line(
            name,
            ["\(row.requests)"] + times.map { String(format: $0 < 100 ? "%.1f" : "%.0f", $0) }
                + ["\(row.missing)", "\(row.wrong)", "\(row.errors)"])
    }

    private static func line(_ name: String, _ cells: [String]) -> String {
        let first = name.count > 30 ? String(name.prefix(29)) + "…" : name
        let rest = cells.map { String(repeating: " ", count: max(1, 11 - $0.count)) + $0 }.joined()
        return first + String(repeating: " ", count: 30 - first.count) + rest + "\n"
    }
}

extension UInt64 {
    /// Of nanoseconds.
    fileprivate var seconds: Double { Double(self) / 1e9 }
}
