import ArgumentParser
import CEpoll
import Foundation
import Synchronization

/// A light load generator that knows what every value must be.
@main
struct TierLoad: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tierload", abstract: "Loads a server and checks every value.",
        discussion: """
            The mix is commands with their shares: "0.8 GET key:{key}; 0.2 SET key:{key} {value}". {key} is \
            the number of the key in twelve digits, {value} its value, {seq} the number of the request, \
            {int:N} a number below N and {same} the same once more. What GET returns is compared with what \
            the key's value must be; a value that differs is wrong, one that is not there is missing.

            Without --rate each reply makes room for the next request (closed loop). With --rate requests \
            begin at fixed times and their latency counts from those, so that a server that stands still \
            does not make its clients ask less (open loop).
            """)

    @Option(help: "An address.") var host = "127.0.0.1"
    @Option(name: .shortAndLong) var port: UInt16 = 6379
    @Option(help: "resp, inline or memcached.") var format = "resp"
    @Option(name: .shortAndLong, help: "Connections.") var clients = 50
    @Option(name: [.customShort("P"), .long], help: "Requests in flight a connection.") var pipeline = 1
    @Option(name: .shortAndLong, help: "Threads; the connections are shared out.") var threads = 1
    @Option(name: .shortAndLong, help: "Commands and their shares.") var mix = "GET key:{key}"
    @Option(name: .shortAndLong, help: "Key space.") var keys = 1_000_000
    @Option(help: "uniform, scan, once, hot:SHARE_OF_REQUESTS:SHARE_OF_KEYS or zipf:THETA.")
    var distribution = "uniform"
    @Option(
        name: [.customShort("d"), .long],
        help: "Bytes a value: 500, 100-1000, 100:0.7,4000:0.3 or lognormal:500:1.2.")
    var size = "500"
    @Option(help: "Replay this CSV file (columns key, size, op, time) with the mix's GET and SET.")
    var trace: String?
    @Option(help: "Keep the trace's times, this many times as fast; 0: do not.") var traceSpeed = 0.0
    @Option(help: "Unit of the trace's times in nanoseconds.") var traceUnit = 1000.0
    @Flag(help: "Store a value that was missing, as beside a cache.") var fillMissing = false
    @Option(name: .shortAndLong, help: "Requests; default: 1000000, or the trace once.") var requests: Int?
    @Option(help: "Run for so long instead.") var seconds = 0.0
    @Option(help: "Requests a second (open loop); 0: as fast as replies come.") var rate = 0.0
    @Option(help: "With --rate: even or poisson.") var arrivals = "even"
    @Flag(help: "Send a request for each reply, not a pipeline for a pipeline.") var sliding = false
    @Flag(help: "Each connection sends the mix's commands one after the other.") var inTurn = false
    @Flag(help: "Do not look at values.") var noVerify = false
    @Option var seed: UInt64 = 1
    @Option(help: "Process whose CPU time and memory are reported.") var pid = 0
    @Option(help: "Milliseconds between samples for a series; 0: none.") var sample = 0
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let plan = try plan(), startedAt = tierload_now()
        let progress = Progress(plan, startedAt: startedAt, isShown: true)
        let server = ProcessorTime.of(pid: pid), own = ProcessorTime.own()
        let outcome: Outcome
        do {
            outcome = try TierLoad.run(plan, startedAt, progress)
        } catch {
            progress.end()
            FileHandle.standardError.write(Data("tierload: \(error.text)\n".utf8))
            throw ExitCode(2)
        }
        progress.end()
        let serverAfter = ProcessorTime.of(pid: pid), ownAfter = ProcessorTime.own()
        let report = Report(
            plan: plan, outcome: outcome,
            server: (serverAfter.user - server.user, serverAfter.system - server.system),
            own: (ownAfter.user - own.user, ownAfter.system - own.system))
        print(json ? report.json() : report.text(), terminator: json ? "\n" : "")
        let total = outcome.total
        if total.wrong > 0 || total.errors > 0 { throw ExitCode(1) }
    }

    /// Runs each thread's part and adds them up.
    private static func run(_ plan: Plan, _ startedAt: UInt64, _ progress: Progress) throws(LoadError)
        -> Outcome
    {
        if plan.threads == 1 { return try Load(plan, thread: 0, startedAt: startedAt, progress).run() }
        let results = Mutex<[Result<Outcome, LoadError>]>([])
        let group = DispatchGroup()
        for thread in 0..<plan.threads {
            group.enter()
            Thread.detachNewThread {
                let result = Result { () throws(LoadError) in
                    try Load(plan, thread: thread, startedAt: startedAt, progress).run()
                }
                results.withLock { $0.append(result) }
                group.leave()
            }
        }
        group.wait()
        var sum = Outcome(commands: plan.mix.count)
        for result in results.withLock({ $0 }) { sum.add(try result.get()) }
        return sum
    }

    private func plan() throws -> Plan {
        var plan = Plan(host: host, port: port, threads: threads, clients: clients, pipeline: pipeline)
        guard clients > 0, pipeline > 0, keys > 0, threads > 0, threads <= clients, clients <= 10_000 else {
            throw ValidationError(
                "clients, pipeline, keys and threads must be positive, threads not more than clients")
        }
        guard let format = Encoder.Format(rawValue: format) else {
            throw ValidationError("unknown format \(format): \(Encoder.Format.allCases.map(\.rawValue))")
        }
        guard let mix = Template.mix(mix) else { throw ValidationError("the mix makes no sense: \(mix)") }
        guard let distribution = Distribution(distribution, keys: keys) else {
            throw ValidationError("unknown distribution \(distribution)")
        }
        guard let size = ValueSize(size) else { throw ValidationError("unknown size \(size)") }
        guard let arrivals = Plan.Arrivals(rawValue: arrivals) else {
            throw ValidationError("unknown arrivals \(arrivals)")
        }
        (plan.format, plan.mix, plan.distribution, plan.size) = (format, mix, distribution, size)
        if format == .memcached,
            !mix.allSatisfy({ ($0.readsValue || $0.writesValue) && $0.words.count < 4 })
        {
            throw ValidationError("memcached: the mix may have GET key and SET key {value}")
        }
        (plan.arrivals, plan.rate, plan.seconds) = (arrivals, rate, seconds)
        (plan.slides, plan.inTurn, plan.verifies, plan.seed, plan.pid) = (
            sliding, inTurn, !noVerify, seed, pid
        )
        plan.sampleEvery = UInt64(max(0, sample)) * 1_000_000
        plan.requests = requests ?? 1_000_000
        try readTrace(into: &plan)
        return plan
    }

    private func readTrace(into plan: inout Plan) throws {
        plan.fillsMissing = fillMissing
        if fillMissing, !plan.mix.contains(where: \.writesValue) {
            throw ValidationError("--fill-missing needs a command with {value} in the mix")
        }
        guard let trace else { return }
        do {
            let read = try Trace(path: trace, nanosecondsPerUnit: traceUnit)
            plan.trace = read
            plan.requests = requests ?? read.requests.count
        } catch {
            throw ValidationError(error.text)
        }
        guard plan.mix.contains(where: \.readsValue), plan.mix.contains(where: \.writesValue) else {
            throw ValidationError("--trace needs a GET and a command with {value} in the mix")
        }
        if traceSpeed > 0, plan.trace?.hasTimes == false { throw ValidationError("the trace has no times") }
        plan.traceSpeed = traceSpeed
    }
}
