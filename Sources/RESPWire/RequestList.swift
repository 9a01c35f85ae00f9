import Glibc
import Primitives

/// Requests kept beyond their bytes' stay in the input: those of a transaction, and that of a client
/// that waits.
///
/// Shape:  all bytes in one block, all words in another. Words are offsets, so that both may grow.
/// Cost:   no allocation once grown to the largest transaction; `removeAll` keeps the memory.
public final class RequestList {
    private var bytes: UnsafeMutableRawPointer
    private var byteCapacity: Int
    private var words: UnsafeMutablePointer<WordRange>
    private var wordCapacity: Int
    private var wordCount = 0
    private var firsts: [Int] = []
    /// Bytes of all words.
    public private(set) var byteCount = 0

    public init(bytes: Int = 256, words: Int = 16) {
        byteCapacity = max(16, bytes)
        wordCapacity = max(4, words)
        self.bytes = .allocate(byteCount: byteCapacity, alignment: 16)
        self.words = .allocate(capacity: wordCapacity)
    }

    deinit {
        bytes.deallocate()
        words.deallocate()
    }

    public var count: Int { firsts.count }
    public var isEmpty: Bool { firsts.isEmpty }
    /// Bytes of memory held.
    public var memory: Int { byteCapacity + wordCapacity * MemoryLayout<WordRange>.stride }

    /// Copies a request. All of them together are shorter than 4 GiB: see `fits`.
    public func append(_ request: Arguments) {
        firsts.append(wordCount)
        reserve(words: request.count)
        for i in 0..<request.count {
            let word = request[i]
            reserve(bytes: word.count)
            (bytes + byteCount).copyMemory(from: word.base, byteCount: word.count)
            (words + wordCount).initialize(
                to: WordRange(offset: UInt32(byteCount), count: UInt32(word.count)))
            wordCount += 1
            byteCount += word.count
        }
    }

    /// Copies a request whose words are given one by one.
    public func append(count: Int, _ word: (Int) -> ByteView) {
        firsts.append(wordCount)
        reserve(words: count)
        for i in 0..<count {
            let word = word(i)
            reserve(bytes: word.count)
            (bytes + byteCount).copyMemory(from: word.base, byteCount: word.count)
            (words + wordCount).initialize(
                to: WordRange(offset: UInt32(byteCount), count: UInt32(word.count)))
            wordCount += 1
            byteCount += word.count
        }
    }

    /// Copies a request of one word.
    public func append(word: ByteView) {
        withUnsafeTemporaryAllocation(of: WordRange.self, capacity: 1) { range in
            range.initialize(repeating: WordRange(offset: 0, count: UInt32(word.count)))
            append(Arguments(word.base, range.baseAddress!, 1))
        }
    }

    /// Whether a request may be added: offsets have 32 bits.
    public func fits(_ request: Arguments) -> Bool {
        var sum = byteCount
        for i in 0..<request.count { sum += request[i].count }
        return sum <= Int(UInt32.max)
    }

    /// A request's words. Valid until the list changes.
    public subscript(index: Int) -> Arguments {
        let first = firsts[index]
        let end = index + 1 < firsts.count ? firsts[index + 1] : wordCount
        return Arguments(bytes, words + first, end - first)
    }

    /// Forgets the requests; keeps the memory unless it is much.
    public func removeAll() {
        firsts.removeAll(keepingCapacity: firsts.count <= 4096)
        byteCount = 0
        wordCount = 0
        if memory > 64 << 10 {
            bytes.deallocate()
            words.deallocate()
            byteCapacity = 256
            wordCapacity = 16
            bytes = .allocate(byteCount: byteCapacity, alignment: 16)
            words = .allocate(capacity: wordCapacity)
        }
    }

    private func reserve(bytes n: Int) {
        guard byteCount + n > byteCapacity else { return }
        byteCapacity = max(byteCount + n, byteCapacity * 2)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: byteCapacity, alignment: 16)
        larger.copyMemory(from: bytes, byteCount: byteCount)
        bytes.deallocate()
        bytes = larger
    }

    private func reserve(words n: Int) {
        guard wordCount + n > wordCapacity else { return }
        wordCapacity = max(wordCount + n, wordCapacity * 2)
        let larger = UnsafeMutablePointer<WordRange>.allocate(capacity: wordCapacity)
        larger.moveInitialize(from: words, count: wordCount)
        words.deallocate()
        words = larger
    }
}
