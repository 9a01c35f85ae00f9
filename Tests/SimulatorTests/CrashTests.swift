import Simulator
import Testing

/// Proves that what was durable is there after a crash at any moment, and after any one disk request has
/// failed: `tiersim --crash --seed N --steps S --lives L --fail R` repeats one of these.
struct CrashTests {
    @Test(arguments: 1...24 as ClosedRange<UInt64>)
    func whatWasDurableIsThereAgain(seed: UInt64) {
        let report = CrashWorld(seed: seed).run(lives: 4, steps: 250)
        #expect(report.problem == nil, "seed \(seed)")
        #expect(report.lives == 4 && report.changes > 100, "seed \(seed): \(report.changes) changes")
    }

    @Test(arguments: [1, 4] as [UInt64])
    func eachDiskRequestMayFail(seed: UInt64) {
        var request = 0, wasReached = true
        while wasReached {
            request += 1
            let report = CrashWorld(seed: seed, failing: request).run(lives: 3, steps: 60)
            #expect(report.problem == nil, "seed \(seed), request \(request)")
            wasReached = report.requests >= request
        }
        #expect(request > 4, "\(request) requests")
    }
}
