import Testing

@testable import TieredStore

/// Method: takes up to the limit and over it.
@Suite struct LedgerTests {
    @Test func takesUpToTheLimitAndNotAByteMore() {
        let ledger = Ledger(limit: 1000)
        #expect(ledger.take(400))
        #expect(ledger.take(600))
        #expect(ledger.used == 1000)
        #expect(!ledger.take(1))
        #expect(ledger.used == 1000)
    }

    @Test func aReserveGoesBeyondTheLimitByThatMuch() {
        let ledger = Ledger(limit: 1000)
        #expect(ledger.take(1100, reserve: 100))
        #expect(!ledger.take(1, reserve: 100))
        #expect(ledger.take(1, reserve: 101))
    }

    @Test func whatIsGivenBackCanBeTakenAgain() {
        let ledger = Ledger(limit: 1000)
        for _ in 0..<100 {
            #expect(ledger.take(1000))
            ledger.give(1000)
        }
        #expect(ledger.used == 0)
    }

    @Test func aLowerLimitTakesNothingAwayAndGivesNothing() {
        let ledger = Ledger(limit: 1000)
        #expect(ledger.take(800))
        ledger.limit = 500
        #expect(ledger.used == 800)
        #expect(!ledger.take(1))
        ledger.give(400)
        #expect(ledger.take(100))
        #expect(!ledger.take(1))
    }

    @Test func thePeakStaysAndRefusalsAreNoPartOfIt() {
        let ledger = Ledger(limit: 1000)
        #expect(ledger.take(700))
        #expect(!ledger.take(400))
        ledger.give(600)
        #expect(ledger.take(100))
        #expect(ledger.peak == 700)
    }
}
