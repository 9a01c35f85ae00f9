import ArgumentParser
import Simulator

/// tiersim: runs the store and the front in a simulated world and checks every reply.
@main
struct TierSim: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tiersim",
        abstract: "Runs tierd's store and front with a seeded, failing disk and checks every reply.",
        discussion: "Exit status: 0 when every seed ran well, 1 with the first seed that did not.")

    @Option(help: "The first seed.") var seed: UInt64 = 1
    @Option(help: "How many seeds to run.") var seeds = 1
    @Option(help: "Steps a seed.") var steps = 20_000
    @Flag(help: "Only problems and a closing line.") var quiet = false
    @Flag(help: "Crashes, and what must be there afterwards.") var crash = false
    @Option(help: "Lives a seed, with --crash.") var lives = 5
    @Option(help: "The disk request that fails, with --crash.") var fail = 0
    @Flag(help: "Each disk request of the first life fails in turn, with --crash.") var failEach = false

    func run() throws {
        if crash { return try runCrashes() }
        var answered = 0
        for number in seed..<(seed + UInt64(seeds)) {
            let report = World(seed: number).run(steps: steps)
            answered += report.answered
            if let problem = report.problem {
                print("seed \(number): after \(report.answered) replies: \(problem)")
                print("again with: tiersim --seed \(number) --steps \(steps)")
                throw ExitCode(1)
            }
            if !quiet {
                print("seed \(number): \(report.answered) replies, \(report.refused) refused, "
                    + "\(report.diskRequests) disk requests, \(report.diskFaults) faults, "
                    + "\(report.demotions) demotions, \(report.compactions) compactions, "
                    + "digest \(String(report.digest, radix: 16))")
            }
        }
        print("\(seeds) seeds, \(answered) replies, all as the model says")
    }

    private func runCrashes() throws {
        var changes = 0, lost = 0, lives = 0
        for number in seed..<(seed + UInt64(seeds)) {
            var request = failEach ? 1 : fail, last = failEach ? Int.max : request
            while request <= last {
                let report = CrashWorld(seed: number, failing: request).run(
                    lives: self.lives, steps: steps)
                if failEach, report.requests < request { last = request }
                if let problem = report.problem {
                    print("seed \(number): \(problem)")
                    print("again with: tiersim --crash --seed \(number) --steps \(steps) "
                        + "--lives \(self.lives) --fail \(request)")
                    throw ExitCode(1)
                }
                changes += report.changes
                lost += report.lost
                lives += report.lives
                if !quiet {
                    let fault = request > 0 ? ", request \(request) failing" : ""
                    print("seed \(number)\(fault): \(report.lives) lives, "
                        + "\(report.changes) changes, \(report.lost) lost as they may be, "
                        + "\(report.rewrites) rewrites")
                }
                request += 1
            }
        }
        print("\(seeds) seeds, \(lives) lives, \(changes) changes: each as durable as was said")
    }
}
