import Simulator
import Testing

/// Proves that the store and the front do what the model says while the disk is late and fails,
/// and that a seed shows the same run again: `tiersim --seed N --steps 2000` repeats one of these.
struct WorldTests {
    private func run(_ seeds: [UInt64], steps: Int) async -> [World.Report] {
        await withTaskGroup(of: World.Report.self) { group in
            for seed in seeds { group.addTask { World(seed: seed).run(steps: steps) } }
            return await group.reduce(into: []) { $0.append($1) }.sorted { $0.seed < $1.seed }
        }
    }

    @Test func everyReplyIsAsTheModelSays() async {
        let steps = 2000
        let reports = await run(Array(1...12), steps: steps)
        for report in reports {
            let name: Comment = "seed \(report.seed) after \(report.answered) replies"
            #expect(report.problem == nil, name)
            #expect(report.steps == steps, name)
            #expect(report.answered > steps && report.refused * 10 < report.answered, name)
            #expect(report.diskRequests > 100 && report.demotions > 50, name)
        }
        #expect(Set(reports.map(\.digest)).count == reports.count, "each seed is a run of its own")
        // Some worlds have a sound disk; together they must meet faults and compact.
        #expect(reports.contains { $0.diskFaults == 0 } && reports.contains { $0.diskFaults > 10 })
        #expect(reports.contains { $0.refused > 0 })
        #expect(reports.reduce(0) { $0 + $1.compactions } > 100)
    }

    @Test func theSameSeedIsTheSameRun() async {
        let seeds: [UInt64] = [7, 9]
        let reports = await run(seeds + seeds, steps: 700)
        #expect(reports[0] == reports[1] && reports[2] == reports[3])
        #expect(reports[0].digest != reports[2].digest)
        #expect(reports.allSatisfy { $0.problem == nil && $0.diskRequests > 0 })
        let longer = await run(seeds, steps: 701)
        #expect(longer[0].digest != reports[0].digest, "every step shows in the digest")
    }
}
