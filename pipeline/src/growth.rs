//! Refuses programs whose types would exhaust memory.
//!
//! The language's compiler knows each part that a value surely has, and copies what it knows with the value. `x = [x, x]`
//! doubles it: 40 such lines, 400 bytes, are more than any machine has. The operator compiles what anybody in the cluster
//! writes, so the types of a program are counted before they are made. The count is never below the compiler's, and shares
//! its ways only where they matter.

use std::collections::BTreeMap;

use vrl::{
    parser::{
        Program,
        ast::{
            Assignment, AssignmentOp, AssignmentTarget, Block, Container, Expr, FunctionCall, Ident, IfStatement, Node,
            Op, Opcode, Predicate, Query, QueryTarget, RootExpr, Unary,
        },
    },
    path::{OwnedSegment, OwnedValuePath, PathPrefix},
    value::Kind,
};

/// Most parts that the types of all values together may have at one time.
const LARGEST: usize = 20_000;
/// Most parts that are looked at in one program: the compiler copies them as often.
const MOST_WORK: usize = 2_000_000;

/// The place (in bytes) where the types of a program become too large; `of_record` is the type that it begins with.
pub(crate) fn too_large_at(Program(statements): Program, of_record: &Kind) -> Option<usize> {
    let mut counter =
        Counter { known: Known { record: Shape::of(of_record), ..Known::default() }, ..Counter::default() };
    statements.into_iter().map(Node::into_inner).try_for_each(|statement| counter.statement(statement)).err()
}

/// What is known of one value: the parts that it has by their names, and how many more somewhere, by what they came from.
#[derive(Clone, Debug, Default)]
struct Shape {
    parts: BTreeMap<OwnedSegment, Shape>,
    elsewhere: BTreeMap<Origin, usize>,
}

/// Where parts came from whose names are not followed: the same ones count once, however often a value is merged with itself.
type Origin = usize;

/// What the record had before the program.
const GIVEN: Origin = 0;

/// What is known of all values at a place of the program.
#[derive(Clone, Debug, Default)]
struct Known {
    record: Shape,
    variables: BTreeMap<String, Shape>,
}

#[derive(Default)]
struct Counter {
    known: Known,
    work: usize,
    /// Branches around the statement that is counted: the compiler looks at it once for each.
    depth: usize,
    origins: usize,
    /// Of the statement that is counted, in bytes.
    place: usize,
}

/// The place of the statement that is too large, in bytes.
type Counted<T> = Result<T, usize>;

impl Shape {
    fn of(kind: &Kind) -> Self {
        let mut shape = Self::default();
        let mut others = Vec::new();
        if let Some(object) = kind.as_object() {
            let parts = object.known().iter().map(|(name, kind)| (OwnedSegment::field(name.as_str()), Self::of(kind)));
            shape.parts.extend(parts);
            others.push(object.unknown_kind());
        }
        if let Some(array) = kind.as_array() {
            let parts = array.known().iter().map(|(index, kind)| (segment(index.to_usize()), Self::of(kind)));
            shape.parts.extend(parts);
            others.push(array.unknown_kind());
        }
        // Of parts of any kind nothing is known, however deep one looks.
        let others = others
            .iter()
            .filter(|kind| (kind.contains_object() || kind.contains_array()) && !kind.is_any() && !kind.is_json());
        let size = others.map(|kind| Self::of(kind).size()).fold(0, usize::saturating_add);
        shape.elsewhere.insert(GIVEN, size);
        shape
    }

    fn size(&self) -> usize {
        let parts = self.parts.values().map(Self::size);
        parts.chain(self.elsewhere.values().copied()).fold(1, usize::saturating_add)
    }

    /// The part at a path. Where a name is not known, it may be any of those elsewhere.
    fn at(&self, path: &[OwnedSegment]) -> Self {
        let Some((first, rest)) = path.split_first() else { return self.clone() };
        let elsewhere = || Self { parts: BTreeMap::new(), elsewhere: self.elsewhere.clone() };
        match (first, self.parts.get(first)) {
            (OwnedSegment::Index(..0), _) => self.parts.values().map(|part| part.at(rest)).fold(elsewhere(), Self::or),
            (_, Some(part)) => part.at(rest).or(elsewhere()),
            (_, None) => elsewhere(),
        }
    }

    fn put(&mut self, path: &[OwnedSegment], value: Self) {
        match path.split_first() {
            None => *self = value,
            Some((first, rest)) => self.parts.entry(first.clone()).or_default().put(rest, value),
        }
    }

    /// A value that is the one or the other, or has the parts of both.
    fn or(mut self, other: Self) -> Self {
        for (origin, size) in other.elsewhere {
            let known = self.elsewhere.entry(origin).or_default();
            *known = size.max(*known);
        }
        for (name, part) in other.parts {
            let known = self.parts.remove(&name).unwrap_or_default();
            self.parts.insert(name, known.or(part));
        }
        self
    }
}

fn segment(index: usize) -> OwnedSegment {
    OwnedSegment::Index(isize::try_from(index).unwrap_or(isize::MAX))
}

impl Known {
    fn size(&self) -> usize {
        self.variables.values().map(Shape::size).fold(self.record.size(), usize::saturating_add)
    }

    fn or(mut self, other: Self) -> Self {
        for (name, shape) in other.variables {
            let known = self.variables.remove(&name).unwrap_or_default();
            self.variables.insert(name, known.or(shape));
        }
        Self { record: self.record.or(other.record), ..self }
    }
}

impl Counter {
    fn statement(&mut self, statement: RootExpr) -> Counted<()> {
        match statement {
            RootExpr::Expr(expression) => self.expression(expression).map(drop),
            RootExpr::Error(_) => Ok(()),
        }
    }

    /// Counts so many parts that the compiler makes now.
    fn spend(&mut self, size: usize) -> Counted<()> {
        self.work = self.work.saturating_add(size.saturating_mul(self.depth + 1));
        if size > LARGEST || self.work > MOST_WORK { Err(self.place) } else { Ok(()) }
    }

    /// So many parts whose names are not followed.
    fn elsewhere(&mut self, size: usize) -> Shape {
        self.origins += 1;
        Shape { parts: BTreeMap::new(), elsewhere: BTreeMap::from([(self.origins, size)]) }
    }

    fn expression(&mut self, node: Node<Expr>) -> Counted<Shape> {
        let place = node.start();
        self.place = place;
        let shape = match node.into_inner() {
            Expr::Literal(_) | Expr::Break(_) => Shape::default(),
            Expr::Container(container) => self.container(container.into_inner())?,
            Expr::IfStatement(statement) => self.branches(statement.into_inner())?,
            Expr::Op(operation) => self.operation(operation.into_inner())?,
            Expr::Assignment(assignment) => self.assignment(assignment.into_inner())?,
            Expr::Query(query) => self.query(query.into_inner())?,
            Expr::FunctionCall(call) => self.call(call.into_inner())?,
            Expr::Variable(name) => self.variable(&name),
            Expr::Unary(unary) => {
                let Unary::Not(not) = unary.into_inner();
                self.expression(*not.into_inner().take().1)?;
                Shape::default()
            }
            Expr::Abort(abort) => {
                let message = abort.into_inner().message.map(|message| self.expression(*message));
                message.transpose()?;
                Shape::default()
            }
            Expr::Return(value) => self.expression(*value.into_inner().expr)?,
        };
        self.place = place;
        self.spend(shape.size())?;
        Ok(shape)
    }

    fn variable(&self, name: &Ident) -> Shape {
        self.known.variables.get(&**name).cloned().unwrap_or_default()
    }

    fn container(&mut self, container: Container) -> Counted<Shape> {
        let mut shape = Shape::default();
        match container {
            Container::Group(group) => return self.expression(group.into_inner().into_inner()),
            Container::Block(block) => return self.block(block.into_inner()),
            Container::Array(array) => {
                for (index, part) in array.into_inner().into_iter().enumerate() {
                    shape.parts.insert(segment(index), self.expression(part)?);
                }
            }
            Container::Object(object) => {
                for (name, part) in object.into_inner() {
                    shape.parts.insert(OwnedSegment::field(&name), self.expression(part)?);
                }
            }
        }
        Ok(shape)
    }

    fn block(&mut self, block: Block) -> Counted<Shape> {
        block.into_iter().try_fold(Shape::default(), |_, statement| self.expression(statement))
    }

    fn branches(&mut self, statement: IfStatement) -> Counted<Shape> {
        match statement.predicate.into_inner() {
            Predicate::One(condition) => drop(self.expression(*condition)?),
            Predicate::Many(conditions) => {
                for condition in conditions {
                    self.expression(condition)?;
                }
            }
        }
        let then = self.perhaps(|counter| counter.block(statement.if_node.into_inner()))?;
        let Some(otherwise) = statement.else_node else { return Ok(then) };
        Ok(then.or(self.perhaps(|counter| counter.block(otherwise.into_inner()))?))
    }

    /// Counts what may be done or not.
    fn perhaps(&mut self, count: impl FnOnce(&mut Self) -> Counted<Shape>) -> Counted<Shape> {
        let before = self.known.clone();
        self.depth += 1;
        let shape = count(self)?;
        self.depth -= 1;
        self.known = before.or(std::mem::take(&mut self.known));
        self.spend(self.known.size())?;
        Ok(shape)
    }

    fn operation(&mut self, Op(left, operator, right): Op) -> Counted<Shape> {
        let left = self.expression(*left)?;
        let right = self.perhaps(|counter| counter.expression(*right))?;
        Ok(match operator.into_inner() {
            Opcode::Merge | Opcode::Or | Opcode::And | Opcode::Err => left.or(right),
            // Numbers, texts and truths have no parts.
            _ => Shape::default(),
        })
    }

    fn assignment(&mut self, assignment: Assignment) -> Counted<Shape> {
        let (target, error, operator, value) = match assignment {
            Assignment::Single { target, op, expr } => (target, None, op, expr),
            Assignment::Infallible { ok, err, op, expr } => (ok, Some(err), op, expr),
        };
        let value = self.expression(*value)?;
        self.assign(target.into_inner(), &operator, &value)?;
        if let Some(error) = error {
            self.assign(error.into_inner(), &AssignmentOp::Assign, &Shape::default())?;
        }
        Ok(value)
    }

    fn assign(&mut self, target: AssignmentTarget, operator: &AssignmentOp, value: &Shape) -> Counted<()> {
        let (variable, path) = match target {
            AssignmentTarget::External(None) => (None, OwnedValuePath::root()),
            AssignmentTarget::External(Some(path)) if path.prefix == PathPrefix::Event => (None, path.path),
            AssignmentTarget::Internal(name, path) => (Some(name), path.unwrap_or_else(OwnedValuePath::root)),
            AssignmentTarget::Query(Query { target, path }) => match target.into_inner() {
                QueryTarget::Internal(name) => (Some(name), path.into_inner()),
                QueryTarget::External(PathPrefix::Event) => (None, path.into_inner()),
                _ => return Ok(()),
            },
            // Metadata cannot be assigned to, as the compiler will say.
            AssignmentTarget::Noop | AssignmentTarget::External(Some(_)) => return Ok(()),
        };
        let gaps = gaps(&path.segments, value.size());
        let gaps = self.elsewhere(gaps);
        let known = match variable {
            Some(name) => self.known.variables.entry(name.into_inner()).or_default(),
            None => &mut self.known.record,
        };
        let value = match operator {
            AssignmentOp::Assign => value.clone(),
            AssignmentOp::Merge => known.at(&path.segments).or(value.clone()),
        };
        known.put(&path.segments, value);
        known.elsewhere.extend(gaps.elsewhere);
        self.spend(self.known.size())
    }

    fn query(&mut self, Query { target, path }: Query) -> Counted<Shape> {
        let value = match target.into_inner() {
            QueryTarget::Internal(name) => self.variable(&name),
            QueryTarget::External(PathPrefix::Event) => self.known.record.clone(),
            QueryTarget::External(PathPrefix::Metadata) => Shape::default(),
            QueryTarget::FunctionCall(call) => self.call(call)?,
            QueryTarget::Container(container) => self.container(container)?,
        };
        Ok(value.at(&path.segments))
    }

    fn call(&mut self, call: FunctionCall) -> Counted<Shape> {
        let mut arguments = Vec::new();
        for argument in call.arguments {
            arguments.push(self.expression(argument.into_inner().expr)?);
        }
        let all = arguments.iter().map(Shape::size).fold(0, usize::saturating_add);
        let mut closure = Shape::default();
        if let Some(function) = call.closure {
            let function = function.into_inner();
            let seen = arguments.first().map(|first| first.at(&[OwnedSegment::Index(-1)])).unwrap_or_default();
            let names = function.variables.iter().map(|name| (name.to_string(), seen.clone()));
            let outside = self.known.variables.clone();
            closure = self.perhaps(|counter| {
                counter.known.variables.extend(names);
                counter.block(function.block.into_inner())
            })?;
            for name in &function.variables {
                self.known.variables.remove::<str>(name);
            }
            for (name, shape) in outside {
                let known = self.known.variables.remove(&name).unwrap_or_default();
                self.known.variables.insert(name, known.or(shape));
            }
        }
        let mut arguments = arguments.into_iter();
        let first = arguments.next().unwrap_or_default();
        Ok(match &**call.ident {
            "array" | "object" | "del" | "pop" | "slice" | "map_keys" => first,
            "merge" => arguments.fold(first, Shape::or),
            "push" | "append" => first.or(self.elsewhere(arguments.map(|more| more.size()).sum())),
            "map_values" => self.elsewhere(all.saturating_mul(closure.size())),
            "values" => self.elsewhere(all),
            // The compiler forgets what it knew.
            _ => Shape::default(),
        })
    }
}

/// What the compiler makes up for the elements before an index, or for each that a negative one may mean.
fn gaps(path: &[OwnedSegment], value: usize) -> usize {
    let gap = |segment: &OwnedSegment| match segment {
        OwnedSegment::Field(_) => 0,
        OwnedSegment::Index(index @ 0..) => index.unsigned_abs(),
        OwnedSegment::Index(index) => index.unsigned_abs().saturating_mul(index.unsigned_abs().saturating_add(value)),
    };
    path.iter().map(gap).fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use vrl::parser::parse;

    use super::*;

    const FIELDS: &str = ".out.a = .in.a\n.out.b = .in.b.c\n.out.d = [.in.d, .in.e]\n.out.f.g = .in\n";

    fn too_large_at(program: &str, of_record: &Kind) -> Option<usize> {
        super::too_large_at(parse(program).unwrap(), of_record)
    }

    fn refused(program: &str) -> bool {
        too_large_at(program, &Kind::json()).is_some()
    }

    #[test]
    fn what_would_exhaust_memory_is_refused() {
        for line in [
            "x = [x, x]",
            "x = {\"a\": x, \"b\": x}",
            ".a = {\"b\": .a, \"c\": .a}",
            ". = {\"b\": ., \"c\": .}",
            "if .a == 1 { x = [x, x] } else { x = {\"a\": x, \"b\": x} }",
            "x = push([x], x)",
            "x = append([x], [x])",
            "x = values({\"a\": x, \"b\": x})",
            "x = [array!(x[0]), x[-1], x]",
            "x = merge({\"a\": x}, {\"b\": x})",
            "x = {\"a\": x} | {\"b\": x}",
            "x = (x ?? [x, x]) || [x, x]",
            "x = { y = [x, x]; y }",
            "x = map_values({\"a\": x, \"b\": 1}) -> |value| { [value, x] }",
            "for_each([1]) -> |_index, _value| { x = [x, x] }",
            "x.a = x; x.b = x.a",
            "x, error = [x, x]",
        ] {
            let program = format!("x = [1, 2]\n{}.z = x", format!("{line}\n").repeat(60));
            assert!(refused(&program), "{line}");
        }
        for line in [".a[2000000000] = 1", "x = []\nx[-3000000] = 1", ".a.b[-20000].c = 1"] {
            assert!(refused(line), "{line}");
        }
    }

    #[test]
    fn long_programs_whose_types_stay_small_are_taken() {
        for program in [
            ".a = upcase!(.a)\n".repeat(500),
            ". = {\"id\": .id, \"rest\": .rest}\n".repeat(200),
            "tags = push(array!(.tags), \"a\")\n.tags = tags\n".repeat(200),
            "if .a == 1 { .tags = push(array!(.tags), \"a\") }\n".repeat(100),
            ". = merge(., {\"a\": {\"b\": 1}})\n".repeat(200),
            ".x |= {\"a\": 1, \"b\": [1, 2]}\n".repeat(200),
            ".parsed = parse_json!(.text)\n.a = .parsed.a\n.b = [.parsed.b, .parsed.c]\n".repeat(200),
            "x = 1\nx = x + x\n".repeat(200),
            FIELDS.repeat(100),
            "x = map_values(object!(.a)) -> |value| { to_string(value) ?? \"\" }\n.b = x\n".repeat(100),
        ] {
            assert_eq!(too_large_at(&program, &Kind::json()), None, "{}", &program[..20]);
        }
    }

    #[test]
    fn the_statement_that_is_too_large_is_named() {
        let program = format!(".a = 1\n{}", "x = [x, x]\n".repeat(30));
        let place = too_large_at(&program, &Kind::json()).unwrap_or_default();
        assert!(program[place..].starts_with("[x, x]") || program[place..].starts_with("x = [x, x]"), "{place}");
    }
}
