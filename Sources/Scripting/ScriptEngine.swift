import CScripting
import Primitives

/// The words of a command a script runs, lent until the call returns.
public struct ScriptWords {
    private let words: UnsafePointer<cscripting_bytes>
    public let count: Int

    init(_ words: UnsafePointer<cscripting_bytes>, _ count: Int) {
        self.words = words
        self.count = count
    }

    public subscript(index: Int) -> ByteView {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "no such word")
        return ByteView(words[index])
    }
}

/// One loop's Lua 5.1 with Redis 7.0's sandbox.
///
/// Scripts are compiled once and kept by name. A script runs to its end inside `run`; the commands it
/// asks for are run by `call`, which answers with RESP bytes. Not for two threads at once.
/// Errors: Lua's own are caught in `CScripting`; nothing here or above sees a longjmp.
public final class ScriptEngine {
    public enum Outcome {
        /// The script's answer in RESP, lent until the engine is used again.
        case done(ByteView)
        /// An error's text, its code first; lent as above.
        case failed(ByteView)
        /// `call` ended the run; nothing the script did since is of any effect.
        case ended
    }

    /// What the engine asks its owner for.
    public struct Host {
        /// Runs a command; the reply, in the RESP version given, is used before the next call. Nil: the run
        /// is to end.
        public var call: (ScriptWords, Int) -> ByteView? = { _, _ in nil }
        /// Whether the caller may run a command; nil: there is none such.
        public var check: (ScriptWords) -> Bool? = { _ in nil }
        /// A line for the log: 0 debug, 1 verbose, 2 notice, 3 warning.
        public var log: (Int, ByteView) -> Void = { _, _ in }
        /// Asked now and then while a script runs; true ends it.
        public var interrupt: () -> Bool = { false }
        public init() {}
    }

    public var host = Host()
    private var engine: OpaquePointer?

    /// `limit`: most bytes Lua may take.
    public init?(limit: Int) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        let host = cscripting_host(
            context: context,
            call: { context, count, words, version, reply in
                let owner = ScriptEngine.owner(context)
                guard let bytes = owner.host.call(ScriptWords(words!, count), Int(version))
                else { return false }
                reply!.pointee = cscripting_bytes(bytes)
                return true
            },
            check: { context, count, words in
                guard let may = ScriptEngine.owner(context).host.check(ScriptWords(words!, count))
                else { return -1 }
                return may ? 1 : 0
            },
            log: { context, level, message in
                ScriptEngine.owner(context).host.log(Int(level), ByteView(message))
            },
            interrupt: { context in ScriptEngine.owner(context).host.interrupt() },
            sha1: { _, text, digits in
                for (i, digit) in Digests.sha1(ByteView(text)).utf8.enumerated() {
                    digits![i] = CChar(bitPattern: digit)
                }
            })
        guard let engine = cscripting_create(host, limit) else { return nil }
        self.engine = engine
    }

    deinit { if let engine { cscripting_destroy(engine) } }

    private static func owner(_ context: UnsafeMutableRawPointer?) -> ScriptEngine {
        Unmanaged<ScriptEngine>.fromOpaque(context!).takeUnretainedValue()
    }

    /// Bytes Lua and the last answer take.
    public var memory: Int { Int(cscripting_memory(engine)) }
    public func setLimit(_ bytes: Int) { cscripting_set_limit(engine, bytes) }

    /// Compiles a script and keeps it; nil, or the compiler's message.
    public func compile(_ name: String, _ body: ByteView) -> String? {
        var reply = cscripting_bytes()
        let outcome = cscripting_compile(engine, name, cscripting_bytes(body), &reply)
        return outcome == CSCRIPTING_DONE ? nil : ByteView(reply).text
    }

    public func has(_ name: String) -> Bool { cscripting_has(engine, name) }
    public func forget(_ name: String) { cscripting_forget(engine, name) }

    /// Runs a compiled script. `version`: of the answer.
    public func run(_ name: String, keys: [ByteView], arguments: [ByteView], version: Int) -> Outcome {
        var reply = cscripting_bytes()
        let outcome = keys.map { cscripting_bytes($0) }.withUnsafeBufferPointer { keys in
            arguments.map { cscripting_bytes($0) }.withUnsafeBufferPointer { arguments in
                cscripting_run(
                    engine, name, keys.count, keys.baseAddress, arguments.count, arguments.baseAddress,
                    Int32(version), &reply)
            }
        }
        switch outcome {
        case CSCRIPTING_DONE: return .done(ByteView(reply))
        case CSCRIPTING_ENDED: return .ended
        default: return .failed(ByteView(reply))
        }
    }
}

extension ByteView {
    init(_ bytes: cscripting_bytes) {
        guard let base = bytes.bytes else {
            self = .empty
            return
        }
        self.init(UnsafeRawPointer(base), bytes.count)
    }
}

extension cscripting_bytes {
    init(_ view: ByteView) {
        self.init(bytes: view.base.assumingMemoryBound(to: CChar.self), count: view.count)
    }
}
