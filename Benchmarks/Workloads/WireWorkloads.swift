import CSystem
import Primitives
import RESPWire

extension Workload {
    /// Bytes in and bytes out, without commands.
    static let protocolWorkloads = [
        Workload("parse", "one request of a pipeline of 16, SETs and GETs mixed", count: 16_000) {
            let bytes = (0..<Workbench.depth).flatMap { i in
                let key = Data.key(i)
                return RequestWriter.bytes(
                    i % 4 == 0 ? request("SET", key, Data.text(100)) : request("GET", key))
            }
            let input = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 64)
            bytes.withUnsafeBytes { input.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            let reader = PipelineReader(input, bytes.count)
            return { count in for _ in 0..<(count / Workbench.depth) { reader.read() } }
        },
        Workload("reply", "a bulk string of 100 bytes, an integer and an OK", count: 16_000) {
            let buffer = ReplyBuffer(), text = Array(Data.text(100).utf8)
            return { count in
                for _ in 0..<(count / Workbench.depth) {
                    buffer.removeAll()
                    let writer = ReplyWriter(buffer)
                    text.withView { text in
                        for i in 0..<Workbench.depth {
                            writer.bulk(text)
                            writer.integer(i &* 12345)
                            writer.ok()
                        }
                    }
                    precondition(buffer.count > Workbench.depth * 110, "not written")
                }
            }
        },
        Workload("crc32c", "a checksum of 500 bytes", count: 16_000) {
            let bytes = Data.random(500)
            return { count in
                var sum: UInt32 = 0
                bytes.withUnsafeBytes { bytes in
                    for _ in 0..<count { sum = csystem_crc32c(sum, bytes.baseAddress!, bytes.count) }
                }
                precondition(sum != 0, "no sum")
            }
        },
    ]
}

/// Parses the same pipeline again and again.
private final class PipelineReader {
    private var parser = RequestParser()
    private var words = WordList()
    private let input: UnsafeMutableRawPointer
    private let count: Int

    init(_ input: UnsafeMutableRawPointer, _ count: Int) {
        self.input = input
        self.count = count
    }

    func read() {
        var at = 0
        words.removeAll()
        for _ in 0..<Workbench.depth {
            guard case .request(_, _, let end) = parser.parse(input, count: count, from: at, into: &words)
            else { fatalError("not a request") }
            at = end
        }
        precondition(at == count, "not all was read")
    }
}

/// What keys and values are made of.
enum Data {
    static func key(_ number: Int) -> String {
        let digits = String(number)
        return "key:" + String(repeating: "0", count: 12 - digits.count) + digits
    }

    /// A value that can be compressed.
    static func text(_ count: Int) -> String { String(repeating: "v", count: count) }

    /// Bytes that cannot be compressed.
    static func random(_ count: Int) -> [UInt8] {
        var random = Random(seed: 1)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 32) }
    }

    /// 0..<count in an order of chance.
    static func shuffled(_ count: Int) -> [Int] {
        var random = Random(seed: 7), order = Array(0..<count)
        order.shuffle(using: &random)
        return order
    }
}
