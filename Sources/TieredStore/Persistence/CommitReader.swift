import Glibc
import Primitives

/// Reads a file of commits from its beginning: when a server starts, and for `tierctl verify`.
///
/// What cannot be read is the file's torn end, unless a commit behind it says that it had been durable.
/// Memory follows the bytes that are there, never a length that says so.
public final class CommitReader {
    /// Why a file cannot be used; `offset` in bytes.
    public enum Failure: Error, Equatable, Sendable {
        case unreadable(offset: Int, errno: Int32)
        /// Acknowledged commits cannot be read; later ones can.
        case damaged(offset: Int)
        case newerVersion(Character)
        /// The first commit is not the one that was expected: one or more are missing before it.
        case gap(found: UInt64, expected: UInt64)
    }

    /// How the file ended.
    public enum End: Equatable, Sendable {
        case whole
        /// From here on nothing can be read, and none of it was known to be durable.
        case torn(offset: Int)
    }

    private let descriptor: Int32
    private let number: Int
    private let byteCount: Int
    /// Sequence the next commit must have; nil: any.
    public private(set) var expected: UInt64?
    /// Where the next commit begins.
    public private(set) var offset = 0
    /// Commits read.
    public private(set) var count = 0
    /// Set when `next` gave nil.
    public private(set) var end = End.whole
    private var memory: UnsafeMutableRawPointer
    private var capacity: Int
    private var start = 0
    private var fill = 0

    /// `number`: the file's, as in the manifest; `expected`: sequence of the first commit, if it is known.
    public init(descriptor: Int32, number: Int, byteCount: Int, expected: UInt64?) {
        self.descriptor = descriptor
        self.number = number
        self.byteCount = byteCount
        self.expected = expected
        capacity = 1 << 20
        memory = .allocate(byteCount: capacity, alignment: 4096)
    }

    deinit { memory.deallocate() }

    /// The records of the next commit, lent until the next call; nil at the end, which `end` describes.
    public func next() throws(Failure) -> ByteView? {
        guard let commit = try commit(at: offset) else {
            try finish()
            return nil
        }
        if let expected, commit.sequence != expected {
            if commit.sequence > expected, commit.durable >= expected {
                throw .gap(found: commit.sequence, expected: expected)
            }
            end = .torn(offset: offset)
            return nil
        }
        let at = memory + (offset - start) + Commit.headerSize
        offset += commit.extent
        expected = commit.sequence + 1
        count += 1
        return ByteView(UnsafeRawPointer(at), commit.length)
    }

    /// Whether the file has a commit that says the one of this sequence had been durable.
    public func proves(_ sequence: UInt64) throws(Failure) -> Bool {
        var at = 0
        while let found = try search(from: at) {
            if found.commit.durable >= sequence { return true }
            at = found.offset + found.commit.extent
        }
        return false
    }

    /// The sound commit at an offset, with its records in memory.
    private func commit(at offset: Int) throws(Failure) -> Commit? {
        guard byteCount - offset >= Commit.headerSize, try load(offset, Commit.headerSize) else { return nil }
        let head = memory + (offset - start)
        if offset == 0, let version = Commit.newerVersion(head) { throw .newerVersion(version) }
        guard let commit = Commit(head, available: byteCount - offset),
            try load(offset, Commit.headerSize + commit.length),
            commit.isSound(memory + (offset - start), file: number)
        else { return nil }
        return commit
    }

    /// Nothing sound stands at `offset`.
    private func finish() throws(Failure) {
        var at = offset + 1
        // A commit of unknown number may be the first: what it says is durable was in files before.
        let missing = expected ?? 1
        while let found = try search(from: at) {
            if found.commit.durable >= missing, found.commit.sequence > missing {
                throw .damaged(offset: offset)
            }
            at = found.offset + found.commit.extent
        }
        end = try isZero(from: offset) ? .whole : .torn(offset: offset)
    }

    /// The next sound commit from an offset on, wherever it stands.
    private func search(from first: Int) throws(Failure) -> (offset: Int, commit: Commit)? {
        var at = first
        while byteCount - at >= Commit.headerSize {
            guard try load(at, min(256 << 10, byteCount - at)) else { return nil }
            let bytes = UnsafeRawPointer(memory + (at - start)), count = fill - (at - start)
            guard let found = CommitReader.find(bytes, count) else {
                at += max(1, count - 3)
                continue
            }
            at += found
            if let commit = try commit(at: at) { return (at, commit) }
            at += 1
        }
        return nil
    }

    /// Where the magic begins in these bytes.
    private static func find(_ bytes: UnsafeRawPointer, _ count: Int) -> Int? {
        var at = 0
        while at + 4 <= count, let found = memchr(bytes + at, Int32(Commit.magic & 0xff), count - at - 3) {
            at = UnsafeRawPointer(found) - bytes
            if (bytes + at).loadUnaligned(as: UInt32.self) == Commit.magic { return at }
            at += 1
        }
        return nil
    }

    private func isZero(from first: Int) throws(Failure) -> Bool {
        var at = first
        while at < byteCount {
            guard try load(at, 1) else { return true }
            let bytes = memory + (at - start), count = fill - (at - start)
            for i in 0..<count where bytes.load(fromByteOffset: i, as: UInt8.self) != 0 { return false }
            at += count
        }
        return true
    }

    /// Brings `count` bytes from `offset` on into memory; false when the file ends before.
    private func load(_ offset: Int, _ count: Int) throws(Failure) -> Bool {
        if offset >= start, offset + count <= start + fill { return true }
        guard offset + count <= byteCount else { return false }
        let kept = offset >= start && offset < start + fill ? start + fill - offset : 0
        if capacity < count {
            capacity = max(count, min(byteCount - offset, 2 * capacity))
            let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 4096)
            larger.copyMemory(from: memory + max(0, offset - start), byteCount: kept)
            memory.deallocate()
            memory = larger
        } else if kept > 0 {
            memmove(memory, memory + (offset - start), kept)
        }
        start = offset
        fill = kept
        while fill < min(capacity, byteCount - offset) {
            let n = pread(descriptor, memory + fill, min(capacity, byteCount - offset) - fill, offset + fill)
            if n < 0, errno == EINTR { continue }
            if n < 0 { throw .unreadable(offset: offset + fill, errno: errno) }
            if n == 0 { break }
            fill += n
        }
        return fill >= count
    }
}
