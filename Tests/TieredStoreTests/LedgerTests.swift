import Testing

@testable import TieredStore

/// Proves that RAM is never granted beyond the limit, and that what is given back is there again.
struct LedgerTests {
    @Test func theLimitIsTheLastByteGranted() {
        let ledger = Ledger(limit: 100)
        #expect(ledger.take(60))
        #expect(!ledger.take(41))
        #expect(ledger.used == 60)
        #expect(ledger.take(40))
        #expect(ledger.used == 100 && ledger.peak == 100)
        #expect(!ledger.take(1))
        ledger.give(1)
        #expect(ledger.take(1))
        ledger.give(100)
        #expect(ledger.used == 0 && ledger.peak == 100)
    }

    @Test func aReserveGoesBeyondTheLimitByItsSize() {
        let ledger = Ledger(limit: 100)
        #expect(ledger.take(100))
        #expect(!ledger.take(11, reserve: 10))
        #expect(ledger.take(10, reserve: 10))
        #expect(!ledger.take(1, reserve: 10))
        #expect(!ledger.take(1))
        ledger.give(11)
        #expect(ledger.take(1))
        #expect(ledger.used == 100 && ledger.peak == 110)
    }

    @Test func theLimitMayChange() {
        let ledger = Ledger(limit: 100)
        #expect(ledger.take(100))
        ledger.limit = 50
        #expect(!ledger.take(1))
        ledger.give(60)
        #expect(ledger.take(10) && !ledger.take(1))
        ledger.limit = 51
        #expect(ledger.take(1) && !ledger.take(1))
    }

    /// Method: four tasks take and give as fast as they can. A refusal may be one too many, never
    /// one too few.
    @Test func tasksAtOnceLoseNoByte() async {
        let ledger = Ledger(limit: 3000)
        let granted = await withTaskGroup(of: Int.self) { group in
            for task in 1...4 {
                group.addTask {
                    var granted = 0
                    for _ in 0..<20_000 where ledger.take(500 + task) {
                        if ledger.peak > 3000 { return -1 }
                        granted += 1
                        ledger.give(500 + task)
                    }
                    return granted
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(granted.allSatisfy { $0 > 0 })
        #expect(ledger.used == 0)
        #expect(ledger.take(3000))
    }
}
