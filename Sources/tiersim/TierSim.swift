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

    func run() throws {
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
}
