import ArgumentParser
import Glibc

/// A light load generator that knows what every value must be.
@main
struct TierLoad: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tierload", abstract: "Loads a Redis-protocol server and checks every value.")

    @Option(name: .shortAndLong) var port: UInt16 = 6379
    @Option(name: .shortAndLong, help: "Connections.") var clients = 50
    @Option(name: [.customShort("P"), .long], help: "Requests in flight a connection.") var pipeline = 1
    @Option(name: .shortAndLong, help: "Key space.") var keys = 1_000_000
    @Option(name: [.customShort("d"), .long], help: "Bytes a value.") var size = 500
    @Option(name: .shortAndLong, help: "Requests; with --seconds, no limit.") var requests = 1_000_000
    @Option(help: "Run for so long instead.") var seconds = 0.0
    @Option(help: "Share of SET among the requests; the others are GET.") var sets = 0.0
    @Option(help: "uniform, sequential, once, hot:SHARE_OF_REQUESTS:SHARE_OF_KEYS, zipf:THETA.")
    var distribution = "uniform"
    @Option(help: "Requests a second (open loop); 0: as fast as replies come.") var rate = 0.0
    @Option(help: "Process whose CPU time is reported a request.") var pid = 0
    @Option var seed: UInt64 = 1
    @Flag(help: "Send a request for each reply, not a pipeline for a pipeline.") var sliding = false
    @Flag(help: "Do not look at values.") var noVerify = false
    @Flag(help: "Speak memcached's text protocol.") var memcached = false
    @Option(help: "Name for the output line.") var name = ""

    func run() throws {
        guard let distribution = Distribution(distribution, keys: keys) else {
            throw ValidationError("unknown distribution \(self.distribution)")
        }
        let plan = Plan(
            port: port, clients: clients, pipeline: pipeline, size: size, setShare: sets,
            requests: requests, seconds: seconds, verify: !noVerify,
            memcached: memcached, seed: seed, rate: rate,
            slides: sliding)
        let before = cpu()
        let outcome = Load(plan, distribution).run()
        let spent = cpu() - before
        report(outcome, spent)
        if outcome.wrong > 0 || outcome.errors > 0 { throw ExitCode(1) }
    }

    /// Microseconds of user and system time of the process `pid`.
    private func cpu() -> Double {
        guard pid != 0, let file = fopen("/proc/\(pid)/stat", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 1024)
        fgets(&line, 1024, file)
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let fields = text.split(separator: ")").last!.split(separator: " ")
        let ticks = Double(fields[11])! + Double(fields[12])!
        return ticks * 1e6 / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    private func report(_ outcome: Outcome, _ spent: Double) {
        func round(_ value: Double, _ digits: Int = 1) -> String {
            let scale = pow(10, Double(digits))
            return "\((value * scale).rounded() / scale)"
        }
        let fields: [(String, String)] = [
            ("name", "\"\(name)\""), ("requests", "\(outcome.requests)"),
            ("seconds", round(outcome.seconds, 3)),
            ("rps", round(Double(outcome.requests) / outcome.seconds, 0)),
            ("p50_us", round(outcome.latency.percentile(0.5) / 1000)),
            ("p99_us", round(outcome.latency.percentile(0.99) / 1000)),
            ("p999_us", round(outcome.latency.percentile(0.999) / 1000)),
            ("max_us", round(Double(outcome.latency.maximum) / 1000)),
            ("cpu_us_per_request", round(spent / Double(max(1, outcome.requests)), 3)),
            ("misses", "\(outcome.misses)"), ("wrong", "\(outcome.wrong)"),
            ("errors", "\(outcome.errors)"), ("first_error", "\"\(outcome.firstError)\""),
        ]
        print("{" + fields.map { "\"\($0.0)\": \($0.1)" }.joined(separator: ", ") + "}")
    }
}
