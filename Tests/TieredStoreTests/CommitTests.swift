import Glibc
import Primitives
import Testing

@testable import TieredStore

struct CommitTests {
    /// A file of commits of these records, the bytes of each, and where each begins.
    private func file(
        _ records: [[UInt8]], number: Int = 1, first: UInt64 = 1,
        durable: (UInt64) -> UInt64 = { $0 - 1 }, aligned: Bool = false
    ) -> (bytes: [UInt8], places: [Int]) {
        var bytes: [UInt8] = [], places: [Int] = []
        for (i, record) in records.enumerated() {
            let length = Commit.headerSize + record.count, sequence = first + UInt64(i)
            var one = [UInt8](repeating: 0, count: aligned ? (length + 4095) & ~4095 : length)
            one.replaceSubrange(Commit.headerSize..<length, with: record)
            let commit = Commit(
                length: record.count, extent: one.count, sequence: sequence, durable: durable(sequence))
            one.withUnsafeMutableBytes { commit.seal($0.baseAddress!, file: number) }
            places.append(bytes.count)
            bytes += one
        }
        return (bytes, places)
    }

    /// Reads a file of these bytes: its records, and how it ended.
    private func read(_ bytes: [UInt8], number: Int = 1, expected: UInt64? = 1)
        -> (records: [[UInt8]], end: CommitReader.End?, failure: CommitReader.Failure?) {
        let descriptor = open("/var/tmp", O_RDWR | 0o20200000, 0o600)  // O_TMPFILE
        defer { close(descriptor) }
        #expect(pwrite(descriptor, bytes, bytes.count, 0) == bytes.count)
        let reader = CommitReader(
            descriptor: descriptor, number: number, byteCount: bytes.count, expected: expected)
        var records: [[UInt8]] = []
        do throws(CommitReader.Failure) {
            while let record = try reader.next() { records.append(record.array) }
            return (records, reader.end, nil)
        } catch { return (records, nil, error) }
    }

    private let records = (0..<20).map { i in [UInt8](repeating: UInt8(i), count: 1 + i * 37) }

    @Test(arguments: [false, true])
    func whatWasWrittenIsRead(aligned: Bool) {
        let (bytes, _) = file(records, aligned: aligned)
        let found = read(bytes)
        #expect(found.records == records && found.end == .whole)
        // Blocks prepared ahead are zeros.
        let more = read(bytes + [UInt8](repeating: 0, count: 100_000))
        #expect(more.records == records && more.end == .whole)
        #expect(read([]).end == .whole && read([]).records.isEmpty)
    }

    @Test func aLongCommitIsReadWhole() {
        let long = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        let (bytes, _) = file([[1], long, [2]])
        #expect(read(bytes).records == [[1], long, [2]])
    }

    @Test(arguments: [false, true])
    func aFileCutAnywhereHasTheCommitsBefore(aligned: Bool) {
        let (bytes, places) = file(records, aligned: aligned)
        for length in stride(from: 0, to: bytes.count, by: aligned ? 509 : 7) {
            let found = read(Array(bytes[0..<length]))
            let whole = zip(places, records).prefix { $0.0 + Commit.headerSize + $0.1.count <= length }.count
            #expect(found.records == Array(records[0..<whole]), "cut at \(length)")
            #expect(found.failure == nil)
        }
    }

    /// A byte changed in a commit that a later one says had been durable is damage; in the last, a torn end.
    @Test(arguments: [false, true])
    func aByteChangedAnywhereIsNoticed(aligned: Bool) {
        let some = Array(records[0..<4])
        let (bytes, places) = file(some, aligned: aligned)
        for (k, place) in places.enumerated() {
            for offset in 0..<(Commit.headerSize + some[k].count) {
                var damaged = bytes
                damaged[place + offset] ^= 0x10
                let found = read(damaged)
                #expect(found.records == Array(some[0..<k]), "commit \(k), byte \(offset)")
                if k == 3 {
                    #expect(found.end == .torn(offset: place), "commit \(k), byte \(offset)")
                } else {
                    #expect(found.failure != nil, "commit \(k), byte \(offset)")
                }
            }
        }
    }

    /// Two writes under way at once: the second has arrived and the first has not.
    @Test func aHoleBeforeWhatWasNotAcknowledgedIsTheTornEnd() {
        var (bytes, places) = file(records, durable: { $0 > 10 ? 9 : $0 - 1 }, aligned: true)
        bytes.replaceSubrange(places[10]..<places[11], with: [UInt8](repeating: 0, count: 4096))
        let found = read(bytes)
        #expect(found.records == Array(records[0..<10]) && found.end == .torn(offset: places[10]))
        // Had it been acknowledged, something would be missing.
        var (other, at) = file(records, durable: { $0 > 12 ? 11 : $0 - 1 }, aligned: true)
        other.replaceSubrange(at[10]..<at[11], with: [UInt8](repeating: 0, count: 4096))
        #expect(read(other).failure == .damaged(offset: at[10]))
    }

    @Test func commitsOfAnotherFileOrPlaceAreNotTaken() {
        let (bytes, _) = file(records, number: 2)
        #expect(read(bytes, number: 1).records.isEmpty)
        let (later, _) = file(records, first: 5)
        #expect(read(later, expected: 3).failure == .gap(found: 5, expected: 3))
        let (unproved, _) = file([[1]], first: 5, durable: { _ in 2 })
        #expect(read(unproved, expected: 4).end == .torn(offset: 0))
    }

    @Test func aNewerFormatIsSaid() {
        var (bytes, _) = file(records)
        bytes[3] = UInt8(ascii: "2")
        #expect(read(bytes).failure == .newerVersion("2"))
    }
}
