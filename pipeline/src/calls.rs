//! A program with its calls changed, and all else as it was: each part of it keeps its place.

use vrl::parser::{
    Program,
    ast::{
        Abort, Assignment, Block, Container, Expr, FunctionArgument, FunctionCall, FunctionClosure, Group, IfStatement,
        Node, Not, Op, Predicate, Query, QueryTarget, Return, RootExpr, Unary,
    },
};

/// Changes each call of a program; those within a call come before it.
pub(crate) fn changed(Program(statements): Program, change: &mut dyn FnMut(FunctionCall) -> FunctionCall) -> Program {
    let mut calls = Calls(change);
    let mut statement = |statement: RootExpr| match statement {
        RootExpr::Expr(expression) => RootExpr::Expr(calls.expression(expression)),
        RootExpr::Error(error) => RootExpr::Error(error),
    };
    Program(statements.into_iter().map(|node| node.map(&mut statement)).collect())
}

struct Calls<'a>(&'a mut dyn FnMut(FunctionCall) -> FunctionCall);

impl Calls<'_> {
    fn expression(&mut self, node: Node<Expr>) -> Node<Expr> {
        node.map(|expression| match expression {
            Expr::Literal(_) | Expr::Variable(_) | Expr::Break(_) => expression,
            Expr::Container(container) => Expr::Container(container.map(|container| self.container(container))),
            Expr::IfStatement(statement) => Expr::IfStatement(statement.map(|statement| self.branches(statement))),
            Expr::Op(operation) => {
                Expr::Op(operation.map(|Op(left, operator, right)| Op(self.boxed(*left), operator, self.boxed(*right))))
            }
            Expr::Assignment(assignment) => Expr::Assignment(assignment.map(|assignment| self.assignment(assignment))),
            Expr::Query(query) => Expr::Query(query.map(|query| self.query(query))),
            Expr::FunctionCall(call) => Expr::FunctionCall(call.map(|call| self.call(call))),
            Expr::Unary(unary) => Expr::Unary(unary.map(|Unary::Not(not)| Unary::Not(not.map(|not| self.not(not))))),
            Expr::Abort(abort) => Expr::Abort(
                abort.map(|Abort { message }| Abort { message: message.map(|message| self.boxed(*message)) }),
            ),
            Expr::Return(value) => Expr::Return(value.map(|Return { expr }| Return { expr: self.boxed(*expr) })),
        })
    }

    fn boxed(&mut self, node: Node<Expr>) -> Box<Node<Expr>> {
        Box::new(self.expression(node))
    }

    fn container(&mut self, container: Container) -> Container {
        match container {
            Container::Group(group) => {
                let group = *group;
                Container::Group(Box::new(group.map(|group| Group(self.expression(group.into_inner())))))
            }
            Container::Block(block) => Container::Block(self.block(block)),
            Container::Array(array) => {
                Container::Array(array.map(|array| array.into_iter().map(|part| self.expression(part)).collect()))
            }
            Container::Object(object) => Container::Object(
                object.map(|object| object.into_iter().map(|(name, part)| (name, self.expression(part))).collect()),
            ),
        }
    }

    fn block(&mut self, block: Node<Block>) -> Node<Block> {
        block.map(|block| Block(block.into_iter().map(|statement| self.expression(statement)).collect()))
    }

    fn branches(&mut self, IfStatement { predicate, if_node, else_node }: IfStatement) -> IfStatement {
        let predicate = predicate.map(|predicate| match predicate {
            Predicate::One(condition) => Predicate::One(self.boxed(*condition)),
            Predicate::Many(conditions) => {
                Predicate::Many(conditions.into_iter().map(|condition| self.expression(condition)).collect())
            }
        });
        let if_node = self.block(if_node);
        IfStatement { predicate, if_node, else_node: else_node.map(|otherwise| self.block(otherwise)) }
    }

    fn assignment(&mut self, assignment: Assignment) -> Assignment {
        match assignment {
            Assignment::Single { target, op, expr } => Assignment::Single { target, op, expr: self.boxed(*expr) },
            Assignment::Infallible { ok, err, op, expr } => {
                Assignment::Infallible { ok, err, op, expr: self.boxed(*expr) }
            }
        }
    }

    fn query(&mut self, Query { target, path }: Query) -> Query {
        let target = target.map(|target| match target {
            QueryTarget::Internal(_) | QueryTarget::External(_) => target,
            QueryTarget::FunctionCall(call) => QueryTarget::FunctionCall(self.call(call)),
            QueryTarget::Container(container) => QueryTarget::Container(self.container(container)),
        });
        Query { target, path }
    }

    fn not(&mut self, not: Not) -> Not {
        let (sign, expression) = not.take();
        Not::new(sign.span(), self.expression(*expression))
    }

    fn call(&mut self, FunctionCall { ident, abort_on_error, arguments, closure }: FunctionCall) -> FunctionCall {
        let mut argument = |FunctionArgument { ident, expr }| FunctionArgument { ident, expr: self.expression(expr) };
        let arguments = arguments.into_iter().map(|node| node.map(&mut argument)).collect();
        let closure = closure.map(|closure| {
            closure.map(|FunctionClosure { variables, block }| FunctionClosure { variables, block: self.block(block) })
        });
        (self.0)(FunctionCall { ident, abort_on_error, arguments, closure })
    }
}
