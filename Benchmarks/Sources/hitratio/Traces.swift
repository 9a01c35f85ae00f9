import Foundation
import Primitives

/// Key numbers in the order they are asked for.
struct Trace {
    var name: String
    /// Number of distinct keys: 0 ..< keyCount.
    var keyCount: Int
    var accesses: [Int32]
    /// The ratio is taken from this access on. All keys are there before the first.
    var countedFrom = 0
}

extension Trace {
    static func zipf(_ theta: Double, keys: Int, count: Int) -> Trace {
        var random = Random(seed: 42)
        var cumulative = [Double](repeating: 0, count: keys)
        var sum = 0.0
        for i in 0..<keys {
            sum += 1 / pow(Double(i + 1), theta)
            cumulative[i] = sum
        }
        var shuffled = Array(0..<Int32(keys))
        for i in stride(from: keys - 1, to: 0, by: -1) {
            shuffled.swapAt(i, Int(random.below(UInt64(i + 1))))
        }
        let accesses = (0..<count).map { _ in
            let wanted = random.fraction() * sum
            var low = 0, high = keys - 1
            while low < high {
                let middle = (low + high) / 2
                if cumulative[middle] < wanted { low = middle + 1 } else { high = middle }
            }
            return shuffled[low]
        }
        return Trace(name: "zipf \(theta)", keyCount: keys, accesses: accesses, countedFrom: count / 2)
    }

    /// Half the requests go to a hot set by Zipf 0.99; the other half walk all keys in a loop.
    static func loopAndScan(keys: Int, count: Int) -> Trace {
        var trace = zipf(0.99, keys: keys / 10, count: count)
        trace.name = "loop + scan"
        trace.keyCount = keys
        var at = keys / 10
        for i in stride(from: 0, to: count, by: 2) {
            trace.accesses[i] = Int32(at)
            at = at + 1 == keys ? keys / 10 : at + 1
        }
        return trace
    }

    /// A CSV trace of the libCacheSim project: the last column is the block, our key.
    static func file(_ path: String) throws -> Trace {
        let process = Process(), pipe = Pipe()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", "case \"$0\" in *.gz) gzip -dc \"$0\";; *) cat \"$0\";; esac", path]
        process.standardOutput = pipe
        try process.run()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        var numbers: [Substring: Int32] = [:], accesses: [Int32] = []
        for line in text.split(separator: "\n").dropFirst() {
            guard let block = line.split(separator: ",").last else { continue }
            let number = numbers[block] ?? Int32(numbers.count)
            numbers[block] = number
            accesses.append(number)
        }
        return Trace(
            name: URL(fileURLWithPath: path).lastPathComponent, keyCount: numbers.count,
            accesses: accesses)
    }
}
